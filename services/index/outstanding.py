"""What the sweeper has told again and what has not come through yet: the bound on what it adds to a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import islice

from services.common.events import Event
from services.common.ports import EventBus

_PAGE = 1000


class Outstanding:
    """Keys of originals that were told of again on one queue."""

    def __init__(
        self, *, bus: EventBus, queue: str, most: int, longest_queue: int, again_after: float
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._most = most
        self._longest_queue = longest_queue
        self._again_after = again_after
        self._told: dict[str, float] = {}
        self._messages = 0

    def __contains__(self, key: str) -> bool:
        return key in self._told

    def __len__(self) -> int:
        return len(self._told)

    @property
    def first(self) -> str | None:
        """The lowest of the keys."""
        return min(self._told, default=None)

    def room(self) -> int:
        """How many more may be told of now: none while the queue is long by the messages of others."""
        if self._bus.depth(self._queue) > self._longest_queue + self._messages:
            return 0
        return self._most - len(self._told)

    def tell(self, event: Event) -> None:
        """Publish the event, and wait for its instances to come through."""
        self._bus.publish(event)
        self._messages += 1
        now = time.monotonic()
        self._told |= {instance.blob.key: now for instance in event.instances}

    def settle(self, not_through: Callable[[Sequence[str]], Set[str]]) -> None:
        """Begin a round: forget what came through, and what did not for so long that it must come again."""
        self._messages = 0
        long_ago = time.monotonic() - self._again_after
        waiting = [key for key, told_at in self._told.items() if told_at > long_ago]
        left: set[str] = set()
        for page in _pages(waiting):
            left |= not_through(page)
        self._told = {key: self._told[key] for key in waiting if key in left}


def _pages(keys: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(keys)
    while page := list(islice(rest, _PAGE)):
        yield page
