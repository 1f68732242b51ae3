"""A catalog that takes whatever it is given, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.common.model import IndexedInstance, InstanceRecord, Rendition
from tests.fakes.made_instances import indexed_instance


class MemoryCatalogWriter:
    """Keeps records by key, and renditions in the order in which they came."""

    def __init__(self) -> None:
        self.records: dict[str, InstanceRecord] = {}
        self.renditions: list[Rendition] = []

    def upsert(self, records: Sequence[InstanceRecord]) -> Sequence[IndexedInstance]:
        self.records |= {record.stored.blob.key: record for record in records}
        return [indexed_instance(record.stored) for record in records]

    def record_rendition(self, rendition: Rendition) -> None:
        self.renditions.append(rendition)

    def missing(self, keys: Iterable[str]) -> set[str]:
        return set(keys) - self.records.keys()
