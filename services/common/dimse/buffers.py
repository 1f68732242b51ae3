"""Receive buffers from a budget: lent while bytes pass through them, waited for where all are lent."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Protocol

from services.common.dimse import metrics

BUFFER_BYTES = 128 * 1024
"""As long as the longest P-DATA-TF that is announced by default."""

_KEPT = 8
"""So many free buffers are kept for the next to ask; the memory of more goes back."""


class Buffers(Protocol):
    """Where a lane has the buffer from that it reads into."""

    def lease(self) -> memoryview:
        """A buffer whose content is anything; waits for one."""

    def give_back(self, buffer: memoryview) -> None:
        """The lender of `buffer` has no more use for it."""


class OwnBuffer:
    """The buffer of a lane that shares none."""

    def __init__(self) -> None:
        self._buffer: memoryview | None = None

    def lease(self) -> memoryview:
        """The buffer."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(BUFFER_BYTES))
        return self._buffer

    def give_back(self, buffer: memoryview) -> None:
        """It stays with its lane."""


class BufferPool:
    """The buffers of one process, `total_bytes` altogether and one at least; threads may share it.

    Who asks first is served first.
    """

    def __init__(self, total_bytes: int, *, size: int = BUFFER_BYTES) -> None:
        self._size = size
        self._left = max(1, total_bytes // size)
        self._free: list[memoryview] = []
        self._waiting: deque[SimpleQueue[memoryview]] = deque()
        self._lock = threading.Lock()

    def lease(self) -> memoryview:
        """A buffer; waits until somebody gives one back where the budget is used up."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._left:
                self._left -= 1
                metrics.BUFFER_BYTES.inc(self._size)
                return memoryview(bytearray(self._size))
            turn: SimpleQueue[memoryview] = SimpleQueue()
            self._waiting.append(turn)
        metrics.BUFFER_WAITS.inc()
        return turn.get()

    def give_back(self, buffer: memoryview) -> None:
        """Lend `buffer` to who waits longest, or keep it for who comes."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put(buffer)
            elif len(self._free) < _KEPT:
                self._free.append(buffer)
            else:
                self._left += 1
                metrics.BUFFER_BYTES.dec(self._size)

    @property
    def waiting(self) -> int:
        """How many wait for a buffer now."""
        return len(self._waiting)
