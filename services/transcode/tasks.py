"""The tasks of the queue ``transcode``: what each takes from a message, and whom it hands it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.common.events import TRANSCODE_TASK, Event, InstancesIndexed, MalformedEvent
from services.common.pixels.pool import CodecPool
from services.common.ports import Attempts, BlobStore, CatalogWriter, EventBus, Quarantine
from services.common.workers import Runner
from services.transcode.handler import transcode


def tasks(
    *,
    store: BlobStore,
    catalog: CatalogWriter,
    pool: CodecPool,
    attempts: Attempts,
    quarantine: Quarantine,
    bus: EventBus,
) -> Mapping[str, Callable[[str], bool]]:
    """By name, functions that take a message's text and say whether it is done with."""

    def instances_indexed(event: Event) -> None:
        if not isinstance(event, InstancesIndexed):
            raise MalformedEvent("the task takes indexed instances only")
        transcode(event, store, catalog, pool)

    runner = Runner(
        task=TRANSCODE_TASK, use_case=instances_indexed, attempts=attempts, quarantine=quarantine, bus=bus
    )
    return {TRANSCODE_TASK: runner}
