"""A quarantine in memory."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import NotFound, Unavailable
from services.common.model import QuarantineEntry


class MemoryQuarantine:
    """Entries in a dict; while `down` is set every call raises Unavailable."""

    def __init__(self) -> None:
        self.held: dict[str, QuarantineEntry] = {}
        self.down = False

    def hold(self, entry: QuarantineEntry) -> None:
        self._up()
        self.held[entry.entry_id] = entry

    def entries(self, *, after: str = "", limit: int = 100) -> Sequence[QuarantineEntry]:
        self._up()
        return [self.held[entry_id] for entry_id in sorted(self.held) if entry_id > after][:limit]

    def get(self, entry_id: str) -> QuarantineEntry:
        self._up()
        if entry_id not in self.held:
            raise NotFound(f"there is no entry {entry_id}")
        return self.held[entry_id]

    def holding(self, digest: str) -> QuarantineEntry | None:
        self._up()
        return next(
            (self.held[i] for i in sorted(self.held, reverse=True) if self.held[i].digest == digest), None
        )

    def release(self, entry_id: str) -> None:
        self._up()
        self.held.pop(entry_id, None)

    def _up(self) -> None:
        if self.down:
            raise Unavailable("the quarantine is down")
