"""What the sweeper asks of the catalog, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from services.common.model import Duplicate, IndexedInstance, InstanceRecord, Rendition, Unrendered


class MemorySweeping:
    """`missing`, watermarks and leftovers over a few sets that a test fills."""

    window = 10

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.marks: dict[str, str] = {}
        self.served: list[tuple[datetime, IndexedInstance]] = []
        self.rendered: set[str] = set()
        self.duplicate: list[Duplicate] = []
        self.asked: list[str] = []

    def upsert(self, records: Sequence[InstanceRecord]) -> Sequence[IndexedInstance]:
        self.known |= {record.stored.blob.key for record in records}
        return []

    def record_rendition(self, rendition: Rendition) -> None:
        raise AssertionError("the sweeper records no rendition")

    def missing(self, keys: Iterable[str]) -> set[str]:
        asked = list(keys)
        self.asked += asked
        return set(asked) - self.known

    def watermark(self, name: str) -> str:
        return self.marks.get(name, "")

    def set_watermark(self, name: str, key: str) -> None:
        self.marks[name] = key

    def unrendered(self, *, after: int | None, before: datetime) -> Unrendered:
        start = max(0, len(self.served) - self.window) if after is None else after
        through = min(start + self.window, len(self.served))
        found = [
            instance
            for received_at, instance in self.served[start:through]
            if received_at < before and instance.blob.key not in self.rendered
        ]
        return Unrendered(instances=tuple(found), through=through, more=through < len(self.served))

    def still_unrendered(self, keys: Iterable[str]) -> set[str]:
        return set(keys) - self.rendered

    def duplicates(self, *, before: datetime, limit: int = 100) -> Sequence[Duplicate]:
        return self.duplicate[:limit]

    @contextmanager
    def forgetting(self, duplicate: Duplicate) -> Iterator[bool]:
        is_one = duplicate in self.duplicate
        yield is_one
        if is_one:
            self.duplicate.remove(duplicate)
