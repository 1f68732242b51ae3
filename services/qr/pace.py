"""How often a retrieval tells of its progress."""

from __future__ import annotations

import time
from collections.abc import Callable

PENDING_SECONDS = 0.1
"""A viewer shows progress; a response for each of a thousand small images a second would slow them."""


class Pace:
    """Something that is due at first, and then again when `seconds` have passed since it was last due."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._last = float("-inf")

    def is_due(self) -> bool:
        """Whether it is; the time then begins anew."""
        now = self._monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
