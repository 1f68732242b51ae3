"""A publisher that remembers."""

from __future__ import annotations

from services.common.model import StoredInstance


class RememberingPublisher:
    """What was offered, in order."""

    def __init__(self) -> None:
        self.offered: list[StoredInstance] = []

    def offer(self, stored: StoredInstance) -> None:
        self.offered.append(stored)
