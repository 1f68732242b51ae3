"""Counters, gauges and histograms whose files no full disk can turn against the process that counts.

prometheus_client shares the counts of several processes through files that it maps into memory, holes and
all: to fill a hole on a full disk is a SIGBUS, which ends the process.  Here every file has its blocks
before it is mapped.  Where there is no room for them, a process counts in memory for itself, and what it
counts is missing from ``/metrics`` until it is started anew.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.mmap_dict import MmapedDict

from services.common import logs

__all__ = ["Counter", "Gauge", "Histogram"]

_FILE_BYTES = 64 * 1024
_LONGEST_ENTRY_BYTES = 8 * 1024
_log = logs.get(__name__)


class _Counts(MmapedDict):
    """The counts of one kind and one process."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if read_mode or _make(Path(filename)):
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        else:
            with _in_memory(_FILE_BYTES) as name:
                super().__init__(name)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + _LONGEST_ENTRY_BYTES > self._capacity:
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self) -> None:
        """Have twice the room, in the file or else in memory."""
        content, self._capacity = self._m[:], 2 * self._capacity
        if not _reserve(self._f.fileno(), self._capacity):
            self._f.close()
            with _in_memory(self._capacity) as name:
                self._f = open(name, "r+b")  # noqa: PTH123, SIM115 - `close` closes it
        self._m = mmap.mmap(self._f.fileno(), self._capacity)
        self._m[: len(content)] = content


def _make(path: Path) -> bool:
    """Have a file of that name with all its blocks; says whether there was room.

    It gets its name last, for whoever adds up the counts reads all that is there.
    """
    if path.exists():
        with path.open("r+b") as file:
            return _reserve(file.fileno(), max(_FILE_BYTES, path.stat().st_size))
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            if not _reserve(file.fileno(), _FILE_BYTES):
                fresh.unlink()
                return False
        fresh.replace(path)
    except OSError as exc:
        _log.warning("counts_in_memory", reason=exc.strerror)
        with suppress(OSError):  # it is empty, and read by nobody
            fresh.unlink(missing_ok=True)
        return False
    return True


def _reserve(descriptor: int, size: int) -> bool:
    """Give a file its blocks up to `size`; says whether there was room."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as exc:
        _log.warning("counts_in_memory", reason=exc.strerror)
        return False
    return True


@contextmanager
def _in_memory(size: int) -> Iterator[str]:
    """The name, while the block lasts, of a file in memory; it stays with those who open it."""
    descriptor = os.memfd_create("gantry-counts")
    try:
        os.truncate(descriptor, size)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


values.MmapedDict = _Counts  # type: ignore[attr-defined]
