"""The task of the queue ``index``: from a message to the news for transcode."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.common.errors import Unavailable
from services.common.events import INDEX_TASK, InstancesStored, to_json
from services.common.intake import Intake
from services.common.model import BlobRef, IndexedInstance, Route, Source
from services.index.tasks import tasks
from tests.fakes.made_instances import indexed_instance, instances_indexed
from tests.fakes.memory_attempts import MemoryAttempts
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_sweeping import MemorySweeping
from tests.fakes.publisher import RememberingPublisher
from tests.fakes.small_dicom import small_file


class Catalog(MemorySweeping):
    """Serves whatever it is given, as if its blob were of a size of the test's choice."""

    blob_bytes = 1000
    down = False

    def upsert(self, records: object) -> list[IndexedInstance]:
        if self.down:
            raise Unavailable("PostgreSQL is down")
        indexed = [indexed_instance(record.stored) for record in records]  # type: ignore[attr-defined]
        return [replace(one, blob=self._resized(one.blob)) for one in indexed]

    def _resized(self, blob: BlobRef) -> BlobRef:
        return replace(blob, length=self.blob_bytes)


class Bench:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.catalog = Catalog()
        self.bus = MemoryBus()
        self.quarantine = MemoryQuarantine()
        self.task = tasks(
            store=self.store,
            catalog=self.catalog,
            attempts=MemoryAttempts(),
            quarantine=self.quarantine,
            bus=self.bus,
        )[INDEX_TASK]

    def stored(self, count: int) -> str:
        """A message that tells of so many instances."""
        source = Source(route=Route.DIMSE, calling_aet="CT1", called_aet="GANTRY")
        when = datetime.now(UTC)
        intake = Intake(self.store, RememberingPublisher(), self.quarantine, clock=lambda: when)
        instances = tuple(intake.accept_file(small_file(number), source) for number in range(count))
        return to_json(InstancesStored(instances=instances))

    def told(self) -> list[int]:
        return [len(event.instances) for event in self.bus.queues.get("transcode", [])]


def test_what_is_served_is_told_to_transcode_in_one_message() -> None:
    bench = Bench()
    assert bench.task(bench.stored(7))
    assert bench.told() == [7]


def test_large_instances_are_told_in_several_messages() -> None:
    bench = Bench()
    bench.catalog.blob_bytes = 100 * 2**20
    assert bench.task(bench.stored(5))
    assert bench.told() == [2, 2, 1]


def test_an_instance_larger_than_a_message_should_be_is_told_alone() -> None:
    bench = Bench()
    bench.catalog.blob_bytes = 4 * 2**30
    assert bench.task(bench.stored(2))
    assert bench.told() == [1, 1]


def test_without_the_catalog_or_the_queue_the_message_comes_back() -> None:
    bench = Bench()
    message = bench.stored(1)
    bench.catalog.down = True
    assert not bench.task(message)
    bench.catalog.down, bench.bus.down = False, True
    assert not bench.task(message)
    bench.bus.down = False
    assert bench.task(message)
    assert (bench.told(), bench.quarantine.held) == ([1], {})


def test_a_message_of_another_task_is_quarantined() -> None:
    bench = Bench()
    message = to_json(instances_indexed(1))
    while not bench.task(message):
        pass
    assert len(bench.quarantine.held) == 1
