"""The memory that instances are read into on their way out: blocks that are used again and again.

A fresh half megabyte costs three times what it costs to read that much from the kernel's cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

BLOCK_BYTES = 256 * 1024


class Blocks:
    """At most `reserved` blocks lie in memory before they are asked for; threads may share them.

    Who gets no reservation does without reading ahead, and leases what he needs at that moment.
    """

    def __init__(self, reserved: int) -> None:
        self._left = self._kept = reserved
        self._free: list[bytearray] = []
        self._lock = threading.Lock()

    def reserve(self, count: int) -> bool:
        """Reserve `count` blocks if there are as many; never waits."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def release(self, count: int) -> None:
        """Give up a reservation."""
        with self._lock:
            self._left += count

    def lease(self) -> bytearray:
        """A block of `BLOCK_BYTES`, which holds anything."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return bytearray(BLOCK_BYTES)

    def give_back(self, blocks: Iterable[bytearray]) -> None:
        """Blocks that nobody looks at any more."""
        with self._lock:
            self._free.extend(blocks)
            del self._free[self._kept :]


PROCESS = Blocks(64 * 2**20 // BLOCK_BYTES)
"""For all transfers of a process together: 64 MiB."""
