"""The settings with which a command reaches the archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import NotFound, Unavailable
from services.common.settings import CommonSettings, LogSettings


def reaching() -> CommonSettings:
    """Settings that reach the servers of `gantry up` on this data folder, unless they name others."""
    from services.up import embedded

    return embedded(commanding())


def commanding() -> CommonSettings:
    """Settings for a command of an operator, who is told what matters and reads no log beside it."""
    from services.common import logs

    settings = CommonSettings()
    quiet = LogSettings(level="ERROR", form="console")
    logs.configure(settings.log if "log" in settings.model_fields_set else quiet, "command")
    return settings


def archived(settings: CommonSettings) -> CommonSettings:
    """The settings, if the folder that they name holds an archive: a command never makes one by mistake.

    Raises:
        NotFound: it holds none.
    """
    if settings.store.kind == "folder" and not settings.blob_dir.is_dir():
        raise NotFound(f"{settings.data_dir} (GANTRY_DATA_DIR) holds no archive; gantry up makes one")
    return settings


@contextmanager
def beside_the_archive() -> Iterator[CommonSettings]:
    """The settings for what needs the servers of a running archive.

    Raises:
        NotFound: the data folder holds no archive.
        Unavailable: it does not run.
    """
    from services.up import embedded

    try:
        yield embedded(archived(commanding()))
    except Unavailable as exc:
        raise Unavailable(f"{exc}; the archive has to run for this (gantry up)") from exc
