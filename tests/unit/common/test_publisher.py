"""The publisher's batches, its bounds, and what it does while the queue is down."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY

from services.common.errors import Unavailable
from services.common.events import Event
from services.common.publisher import BatchingPublisher, BatchLimits
from tests.fakes.made_instances import stored_instance
from tests.fakes.memory_bus import MemoryBus
from tests.waiting import PATIENCE_SECONDS, wait_until

LONG = 3600.0

Make = Callable[..., BatchingPublisher]


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def make(bus: MemoryBus) -> Iterator[Make]:
    made = []

    def make(**limits: float) -> BatchingPublisher:
        made.append(BatchingPublisher(bus, limits=BatchLimits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for publisher in made:
        publisher.close(1)


def sizes(bus: MemoryBus) -> list[int]:
    return [len(event.instances) for event in bus.queues.get("index", [])]


def dropped() -> float:
    return REGISTRY.get_sample_value("gantry_instances_unpublished_total") or 0.0


def test_a_batch_closes_at_a_hundred_instances(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=LONG)
    for number in range(250):
        publisher.offer(stored_instance(number))
    wait_until(lambda: sizes(bus) == [100, 100])
    publisher.close(PATIENCE_SECONDS)
    assert sizes(bus) == [100, 100, 50]
    told = [i.key.sop_instance_uid for event in bus.queues["index"] for i in event.instances]
    assert told == [f"1.2.3.4.{number}" for number in range(250)]


def test_a_batch_closes_after_its_time(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=0.5)
    began = time.monotonic()
    publisher.offer(stored_instance(1))
    publisher.offer(stored_instance(2))
    wait_until(lambda: sizes(bus) == [2])
    assert time.monotonic() - began >= 0.5


def test_a_batch_closes_at_its_size(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=LONG, message_bytes=50_000)
    for number in range(9):
        publisher.offer(stored_instance(number, header_bytes=20_000))
    wait_until(lambda: sizes(bus) == [4, 4])


def test_an_instance_larger_than_a_batch_is_sent_alone(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=0.01, message_bytes=1000)
    for number in range(3):
        publisher.offer(stored_instance(number, header_bytes=20_000))
    wait_until(lambda: sizes(bus) == [1, 1, 1])


def test_flush_sends_what_waits_at_once(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=LONG)
    publisher.offer(stored_instance(1))
    publisher.flush()
    wait_until(lambda: sizes(bus) == [1])
    publisher.flush()
    publisher.offer(stored_instance(2))
    time.sleep(0.05)
    assert sizes(bus) == [1], "a flush with nothing waiting hurries nothing that comes later"


def test_what_does_not_fit_is_dropped_and_counted(bus: MemoryBus, make: Make) -> None:
    bus.down = True
    publisher = make(seconds=0.01, pending_bytes=10 * 1124)
    before = dropped()
    for number in range(12):
        publisher.offer(stored_instance(number))
    assert dropped() - before == 2
    bus.down = False
    wait_until(lambda: sum(sizes(bus)) == 10)
    publisher.offer(stored_instance(12))
    wait_until(lambda: sum(sizes(bus)) == 11)


def test_offering_and_closing_never_wait_for_a_queue_that_hangs() -> None:
    let_go = threading.Event()
    given_up: list[Event] = []

    class Hanging(MemoryBus):
        def publish(self, event: Event) -> None:
            let_go.wait(PATIENCE_SECONDS)
            given_up.append(event)
            raise Unavailable("it hung")

    publisher = BatchingPublisher(Hanging(), limits=BatchLimits(seconds=0.001, pending_bytes=100_000))
    for number in range(500):
        publisher.offer(stored_instance(number))
    assert not publisher.close(0.2)
    assert given_up == []
    let_go.set()


def test_an_outage_ends_and_nothing_is_lost(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=0.01)
    bus.down = True
    for number in range(150):
        publisher.offer(stored_instance(number))
    time.sleep(0.05)
    bus.down = False
    wait_until(lambda: sum(sizes(bus)) == 150)


def test_close_sends_what_waits_and_takes_no_more(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=LONG)
    publisher.offer(stored_instance(1))
    assert publisher.close(PATIENCE_SECONDS)
    assert sizes(bus) == [1]
    before = dropped()
    publisher.offer(stored_instance(2))
    assert (sizes(bus), dropped() - before) == ([1], 1)


def test_close_says_when_something_was_left_for_the_sweeper(bus: MemoryBus, make: Make) -> None:
    bus.down = True
    publisher = make(seconds=LONG)
    before = dropped()
    publisher.offer(stored_instance(1))
    assert not publisher.close(1)
    assert dropped() - before == 1


def test_a_forked_child_sends_its_own_and_not_its_parents(bus: MemoryBus, make: Make) -> None:
    publisher = make(seconds=LONG)
    publisher.offer(stored_instance(1))
    child = os.fork()
    if child == 0:
        publisher.offer(stored_instance(2))
        sent = publisher.close(PATIENCE_SECONDS)
        told = [i.key.sop_instance_uid for event in bus.queues.get("index", []) for i in event.instances]
        os._exit(0 if sent and told == ["1.2.3.4.2"] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert publisher.close(PATIENCE_SECONDS)
    assert sizes(bus) == [1]
