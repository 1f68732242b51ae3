"""The end of a disk that is kept free for those who cannot wait: PostgreSQL, Redis and the logs."""

from __future__ import annotations

import os
from pathlib import Path

from services.common.counts import Gauge
from services.common.errors import Unavailable

_FREE = Gauge(
    "gantry_store_free_bytes",
    "What is free on the disk of the folder store, when it was last looked at",
    multiprocess_mode="mostrecent",
)


class Reserve:
    """How much of the disk that `folder` lies on has to stay free, in bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size

    def check(self) -> None:
        """Look whether there is more.

        Raises:
            Unavailable: there is not, or the disk does not answer.
        """
        try:
            disk = os.statvfs(self._folder)
        except OSError as exc:
            raise Unavailable(f"the blob folder does not serve: {exc.strerror}") from exc
        free = disk.f_bavail * disk.f_frsize
        _FREE.set(free)
        if free < self._size:
            raise Unavailable(
                f"the disk is full: {free >> 20} MiB are free, of which {self._size >> 20} MiB are reserved"
            )
