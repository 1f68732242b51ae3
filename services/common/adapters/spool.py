"""Bytes that wait to be uploaded: in memory while a budget lasts, in an unlinked temporary file beyond."""

from __future__ import annotations

import tempfile
import threading
from typing import IO

from services.common.ports import Buffer


class MemoryBudget:
    """How many bytes all spools of a process may hold in memory together."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take `count` bytes if there are so many left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Return bytes that were taken."""
        with self._lock:
            self._left += count


class Spool:
    """The waiting bytes of one upload."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def append(self, data: Buffer) -> None:
        """Add bytes; an OSError where the disk is full."""
        if self._file is None and self._budget.take(len(data)):
            self._memory += data
        else:
            self._roll_over().write(data)
        self.size += len(data)

    def body(self) -> bytearray | IO[bytes]:
        """All that waits, as boto3 takes it; valid until the next call of any other method."""
        if self._file is None:
            return self._memory
        self._file.seek(0)
        return self._file

    def clear(self) -> None:
        """Forget the bytes; the spool may be used again."""
        self._release_memory()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.size = 0

    def _roll_over(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gantry-")  # noqa: SIM115 - `clear` closes it
            self._file.write(self._memory)
            self._release_memory()
        return self._file

    def _release_memory(self) -> None:
        self._budget.give_back(len(self._memory))
        self._memory = bytearray()
