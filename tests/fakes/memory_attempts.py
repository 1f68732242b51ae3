"""Attempts in memory."""

from __future__ import annotations

from services.common.errors import Unavailable


class MemoryAttempts:
    """Counts in a dict; while `down` is set every call raises Unavailable."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], int] = {}
        self.down = False

    def begin(self, task: str, key: str) -> int:
        self._up()
        self.open[task, key] = self.open.get((task, key), 0) + 1
        return self.open[task, key]

    def end(self, task: str, key: str) -> None:
        self._up()
        self.open.pop((task, key), None)

    def _up(self) -> None:
        if self.down:
            raise Unavailable("the attempts are down")
