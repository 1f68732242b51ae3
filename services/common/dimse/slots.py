"""The limit of associations over all processes: a shared array with one counter per process.

Each process writes its own counter alone, so a process that is killed holds no lock, and the parent
gives back what it had taken.
"""

from __future__ import annotations

import multiprocessing
import threading


class AssociationSlots:
    """At most `limit` associations at a time in `processes` processes forked after this was made."""

    def __init__(self, limit: int, processes: int = 1) -> None:
        self._limit = limit
        self._taken = multiprocessing.RawArray("i", processes)

    def seat(self, index: int = 0) -> Seat:
        """The view of process `index`."""
        return Seat(self, index)

    def clear(self, index: int) -> None:
        """Process `index` is dead: what it had taken is free."""
        self._taken[index] = 0

    @property
    def taken(self) -> int:
        """How many are in use now."""
        return sum(self._taken)

    def change(self, index: int, by: int) -> int:
        """Add `by` to the counter of process `index`, which alone may call this; gives the new sum."""
        self._taken[index] += by
        return self.taken

    @property
    def limit(self) -> int:
        """How many there are."""
        return self._limit


class Seat:
    """One process's way to the shared limit; its threads may share it."""

    def __init__(self, slots: AssociationSlots, index: int) -> None:
        self._slots = slots
        self._index = index
        self._lock = threading.Lock()

    def acquire(self) -> bool:
        """Take a slot if there is one.  Two processes that race for the last may both go without."""
        with self._lock:
            if self._slots.change(self._index, 1) <= self._slots.limit:
                return True
            self._slots.change(self._index, -1)
            return False

    def release(self) -> None:
        """Give the slot back."""
        with self._lock:
            self._slots.change(self._index, -1)
