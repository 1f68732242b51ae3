"""The tasks of the queue ``index``: what each takes from a message, and whom it hands it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from services.common.events import INDEX_TASK, Event, InstancesIndexed, InstancesStored, MalformedEvent
from services.common.model import IndexedInstance
from services.common.ports import Attempts, BlobStore, CatalogWriter, EventBus, Quarantine
from services.common.workers import Runner
from services.index.handler import index_instances

_BATCH_BYTES = 256 * 2**20


def tasks(
    *,
    store: BlobStore,
    catalog: CatalogWriter,
    attempts: Attempts,
    quarantine: Quarantine,
    bus: EventBus,
) -> Mapping[str, Callable[[str], bool]]:
    """By name, functions that take a message's text and say whether it is done with."""

    def instances_stored(event: Event) -> None:
        if not isinstance(event, InstancesStored):
            raise MalformedEvent("the task takes stored instances only")
        for batch in _batches(index_instances(event, catalog, store).instances):
            bus.publish(InstancesIndexed(instances=batch))

    runner = Runner(
        task=INDEX_TASK, use_case=instances_stored, attempts=attempts, quarantine=quarantine, bus=bus
    )
    return {INDEX_TASK: runner}


def _batches(instances: Sequence[IndexedInstance]) -> Iterator[tuple[IndexedInstance, ...]]:
    """The instances in messages that transcode is done with in good time, whatever their size."""
    batch: list[IndexedInstance] = []
    size = 0
    for instance in instances:
        if batch and size + instance.blob.length > _BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(instance)
        size += instance.blob.length
    if batch:
        yield tuple(batch)
