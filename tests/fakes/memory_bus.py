"""A queue in memory."""

from __future__ import annotations

from services.common.errors import Unavailable
from services.common.events import Event, from_json, queue_of, to_json


class MemoryBus:
    """What was published, by queue, as its JSON tells it; while `down` is set, calls raise Unavailable."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Event]] = {}
        self.down = False

    def publish(self, event: Event) -> None:
        if self.down:
            raise Unavailable("the queue is down")
        self.queues.setdefault(queue_of(event), []).append(from_json(to_json(event)))

    def depth(self, queue: str) -> int:
        if self.down:
            raise Unavailable("the queue is down")
        return len(self.queues.get(queue, []))
