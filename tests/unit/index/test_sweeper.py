"""What the sweeper tells again, what it leaves alone, and what it deletes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from services.common import keys
from services.common.errors import Unavailable
from services.common.events import INDEX_TASK, TRANSCODE_TASK, InstancesStored
from services.common.intake import Intake
from services.common.model import BlobRef, Duplicate, QuarantineEntry, Route, Source
from services.common.settings import StoreSettings
from services.common.workers import held_entry_id
from services.index.held import SWEEP_TASK
from services.index.settings import SweepSettings
from services.index.sweeper import Sweeper, sweep_in_turn
from tests.fakes.made_instances import indexed_instance, stored_instance
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_sweeping import MemorySweeping
from tests.fakes.publisher import RememberingPublisher
from tests.fakes.small_dicom import small_file
from tests.waiting import PATIENCE_SECONDS, wait_until

SOURCE = Source(route=Route.DIMSE, calling_aet="CT1", called_aet="GANTRY")
RECENT = "originals.recent"


class Bench:
    """A sweeper over things in memory, and an intake that stores as of a while ago."""

    def __init__(self, **settings: float) -> None:
        self.store = MemoryStore()
        self.bus = MemoryBus()
        self.quarantine = MemoryQuarantine()
        self.catalog = MemorySweeping()
        self.publisher = RememberingPublisher()
        self.clearings: list[float] = []
        self.settings = SweepSettings(**settings)  # type: ignore[arg-type]
        self.sweeper = self.restarted()

    def restarted(self) -> Sweeper:
        """A sweeper that remembers nothing."""
        return Sweeper(
            store=self.store,
            catalog=self.catalog,
            watermarks=self.catalog,
            leftovers=self.catalog,
            bus=self.bus,
            quarantine=self.quarantine,
            clear_uploads=lambda: self.clearings.append(time.monotonic()),
            settings=self.settings,
            put=StoreSettings(longest_put_seconds=3600, clock_skew_seconds=300),
        )

    def stored(self, number: int, *, seconds_ago: float) -> str:
        """Store an instance, of which nobody is told; gives its key."""
        when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        intake = Intake(self.store, self.publisher, self.quarantine, clock=lambda: when)
        return intake.accept_file(small_file(number), SOURCE).blob.key

    def put(self, seconds_ago: float, content: bytes) -> str:
        """Store something as if it were an original."""
        key = keys.new_key(datetime.now(UTC) - timedelta(seconds=seconds_ago))
        writer = self.store.create(key)
        writer.write(content)
        writer.commit({})
        return key

    def sweep(self) -> list[str]:
        """One round; gives the keys that index was told of in it."""
        self.bus.queues.clear()
        self.sweeper.sweep(lambda: True)
        return self.told("index")

    def told(self, queue: str) -> list[str]:
        return [i.blob.key for event in self.bus.queues.get(queue, []) for i in event.instances]


def test_what_the_catalog_lacks_is_told_of_as_intake_told_it() -> None:
    bench = Bench()
    for number in range(3):
        bench.stored(number, seconds_ago=100 - number)
    bench.catalog.known.add(bench.publisher.offered[1].blob.key)
    first, _, third = bench.publisher.offered
    bench.sweep()
    assert bench.bus.queues["index"] == [InstancesStored(instances=(first, third))]


def test_what_is_young_is_left_alone_and_told_of_later() -> None:
    bench = Bench(youngest=60)
    young = bench.stored(1, seconds_ago=59)
    assert bench.sweep() == []
    bench.sweeper._unindexed._clock = lambda: datetime.now(UTC) + timedelta(seconds=2)
    assert bench.sweep() == [young]


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock of what is outstanding; gives what moves it on by so many seconds."""
    now = [1000.0]
    monkeypatch.setattr("services.index.outstanding.time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.append(now.pop() + seconds)


def test_what_was_told_of_is_not_told_of_again_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time = stopped_clock(monkeypatch)
    bench = Bench(again_after=300)
    key = bench.stored(1, seconds_ago=100)
    assert bench.sweep() == [key]
    pass_time(299)
    assert bench.sweep() == []
    pass_time(2)
    assert bench.sweep() == [key]
    bench.catalog.known.add(key)
    pass_time(301)
    assert bench.sweep() == []


def test_the_watermark_trails_by_the_longest_put_and_the_skew() -> None:
    bench = Bench(full_pass_pages=0)
    bench.catalog.known |= {bench.stored(n, seconds_ago=age) for n, age in enumerate((9000, 4000, 100))}
    bench.sweep()
    mark = bench.catalog.marks[RECENT]
    edge = datetime.now(UTC) - timedelta(seconds=3900)
    assert abs(int(mark.rpartition("/")[2], 16) / 1000 - edge.timestamp()) < 5
    late = bench.stored(9, seconds_ago=3800)
    assert bench.sweep() == [late], "a PUT that took an hour is found below younger keys"


def test_the_watermark_stays_below_what_has_not_come_through() -> None:
    bench = Bench(full_pass_pages=0)
    lost = bench.stored(1, seconds_ago=90_000)
    bench.catalog.known.add(bench.stored(2, seconds_ago=80_000))
    assert bench.sweep() == [lost]
    assert bench.catalog.marks.get(RECENT, "") < lost
    bench.sweeper = bench.restarted()
    assert bench.sweep() == [lost], "nothing is forgotten when the sweeper dies"
    bench.catalog.known.add(lost)
    bench.sweep()
    assert bench.catalog.marks[RECENT] > lost


def test_a_round_costs_what_is_new() -> None:
    bench = Bench(full_pass_pages=0)
    old = {bench.stored(n, seconds_ago=90_000 + n) for n in range(20)}
    bench.catalog.known |= old
    bench.sweep()
    bench.catalog.asked.clear()
    bench.sweep()
    assert bench.catalog.asked == []


def test_the_full_pass_finds_what_lies_below_the_watermark() -> None:
    bench = Bench(full_pass_pages=1, full_pass_rest=3600)
    bench.catalog.known |= {bench.stored(n, seconds_ago=90_000 + n) for n in range(3)}
    bench.sweep()
    lost = bench.stored(7, seconds_ago=95_000)
    assert bench.sweep() == [], "the pass has ended and rests"
    bench.sweeper = bench.restarted()
    assert bench.sweep() == [lost]


def test_the_full_pass_goes_on_where_it_was() -> None:
    bench = Bench(full_pass_pages=1)
    bench.catalog.known |= {bench.put(90_000 - n, b"") for n in range(2500)}
    bench.catalog.marks[RECENT] = keys.before(datetime.now(UTC))
    counts = []
    for _ in range(3):
        bench.catalog.asked.clear()
        bench.sweeper = bench.restarted()
        bench.sweep()
        counts.append(len(bench.catalog.asked))
    assert counts == [1000, 1000, 500]
    assert len(set(bench.catalog.known)) == 2500


def test_no_more_is_outstanding_than_permitted() -> None:
    bench = Bench(outstanding=120, again_after=3600)
    lost = [bench.stored(n, seconds_ago=1000 - n) for n in range(200)]
    assert bench.sweep() == lost[:100], "two batches of fifty fit"
    assert bench.sweep() == []
    bench.catalog.known |= set(lost[:60])
    assert bench.sweep() == lost[100:150]
    bench.catalog.known |= set(lost[:150])
    assert bench.sweep() == lost[150:]


def test_nothing_is_told_of_while_the_queue_is_long() -> None:
    bench = Bench(longest_queue=2)
    lost = bench.stored(1, seconds_ago=100)
    bench.bus.queues["index"] = [InstancesStored(instances=())] * 3
    bench.sweeper.sweep(lambda: True)
    assert bench.told("index") == []
    bench.bus.queues["index"].pop()
    bench.sweeper.sweep(lambda: True)
    assert bench.told("index") == [lost]


def test_an_original_that_cannot_be_read_is_quarantined_once() -> None:
    bench = Bench()
    broken = bench.put(100, b"this is no DICOM file")
    fine = bench.stored(1, seconds_ago=90)
    assert bench.sweep() == [fine]
    (entry,) = bench.quarantine.held.values()
    assert (entry.kind, entry.blob, broken in entry.reason) == (SWEEP_TASK, None, True)
    held_at = entry.held_at
    bench.sweep()
    bench.sweeper = bench.restarted()
    bench.sweep()
    (entry,) = bench.quarantine.held.values()
    assert entry.held_at == held_at
    assert bench.store.stat(broken).size > 0, "the bytes stay"


def test_a_released_entry_is_tried_again() -> None:
    bench = Bench()
    bench.put(100, b"this is no DICOM file")
    bench.sweep()
    bench.quarantine.held.clear()
    bench.sweeper = bench.restarted()
    bench.sweep()
    assert len(bench.quarantine.held) == 1


def hold(bench: Bench, task: str, key: str) -> None:
    bench.quarantine.hold(
        QuarantineEntry(
            entry_id=held_entry_id(task, key), kind=task, reason="", payload="", held_at=datetime.now(UTC)
        )
    )


def test_what_index_gave_up_is_left_to_the_operator() -> None:
    bench = Bench(full_pass_pages=0)
    hold(bench, INDEX_TASK, bench.stored(1, seconds_ago=90_000))
    assert bench.sweep() == []
    assert bench.catalog.marks[RECENT] > bench.publisher.offered[0].blob.key, "it holds up nothing"


def test_an_original_that_vanishes_meanwhile_is_no_error() -> None:
    bench = Bench()
    key = bench.stored(1, seconds_ago=100)
    listed = bench.store.list("")
    bench.store.delete(key)
    bench.store.list = lambda *_, **__: listed if not bench.catalog.asked else []  # type: ignore[method-assign]
    assert bench.sweep() == []
    assert bench.quarantine.held == {}


def test_an_outage_ends_the_round_and_loses_nothing() -> None:
    bench = Bench()
    lost = bench.stored(1, seconds_ago=90_000)
    for thing in (bench.bus, bench.store):
        thing.down = True
        with pytest.raises(Unavailable):
            bench.sweep()
        thing.down = False
    assert bench.catalog.marks.get(RECENT, "") < lost
    assert bench.sweep() == [lost]


def test_a_sweeper_that_lost_its_turn_stops_at_once() -> None:
    bench = Bench()
    bench.stored(1, seconds_ago=100)
    bench.sweeper.sweep(lambda: False)
    assert bench.bus.queues == {}
    assert RECENT not in bench.catalog.marks


def serve(bench: Bench, number: int, *, seconds_ago: float) -> str:
    stored = stored_instance(number)
    bench.catalog.served.append(
        (datetime.now(UTC) - timedelta(seconds=seconds_ago), indexed_instance(stored))
    )
    return stored.blob.key


def test_what_transcode_never_heard_of_is_told_of_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time = stopped_clock(monkeypatch)
    bench = Bench(rendition_after=600, rendition_again_after=300)
    lost = serve(bench, 1, seconds_ago=700)
    bench.catalog.rendered.add(serve(bench, 2, seconds_ago=700))
    serve(bench, 3, seconds_ago=500)
    hold(bench, TRANSCODE_TASK, serve(bench, 4, seconds_ago=700))
    bench.sweep()
    assert bench.told("transcode") == [lost]
    bench.sweep()
    assert bench.told("transcode") == []
    pass_time(301)
    bench.sweep()
    assert bench.told("transcode") == [lost]


def test_every_instance_has_its_turn_and_the_newest_always() -> None:
    bench = Bench(rendition_again_after=0.0)
    lost = [serve(bench, number, seconds_ago=700) for number in range(35)]
    rounds = []
    for _ in range(5):
        bench.sweep()
        rounds.append({lost.index(key) for key in bench.told("transcode")})
    assert all(set(range(25, 35)) <= told for told in rounds)
    assert [min(told) for told in rounds] == [0, 10, 20, 25, 0]


def test_transcode_is_told_nothing_while_it_has_work() -> None:
    bench = Bench()
    serve(bench, 1, seconds_ago=700)
    bench.bus.queues["transcode"] = list(bench.bus.queues.get("transcode", []))
    bench.bus.depth = lambda queue: 1 if queue == "transcode" else 0  # type: ignore[method-assign]
    bench.sweep()
    assert bench.told("transcode") == []


def duplicate(bench: Bench, content: bytes = b"the same bytes", kept: bytes = b"the same bytes") -> Duplicate:
    def ref(key: str, length: int) -> BlobRef:
        return BlobRef(bucket=bench.store.bucket, key=key, offset=0, length=length)

    found = Duplicate(
        kept=ref(bench.put(100_000, kept), len(kept)),
        blob=ref(bench.put(90_000, content), len(content)),
        kept_file_digest=hashlib.sha256(b"the same bytes").hexdigest(),
    )
    bench.catalog.known |= {found.kept.key, found.blob.key}
    bench.catalog.duplicate.append(found)
    return found


def test_a_duplicate_is_deleted_once_the_blob_that_stays_has_proved_whole() -> None:
    bench = Bench()
    one = duplicate(bench)
    bench.sweep()
    assert set(bench.store.objects) == {one.kept.key}
    assert bench.catalog.duplicate == []


@pytest.mark.parametrize("kept", [b"other bytes...", b"short"])
def test_nothing_is_deleted_while_the_blob_that_stays_is_damaged(kept: bytes) -> None:
    bench = Bench()
    one = duplicate(bench, kept=kept)
    fine = duplicate(bench)
    bench.sweep()
    assert set(bench.store.objects) == {one.kept.key, one.blob.key, fine.kept.key}
    assert bench.catalog.duplicate == [one]


def test_nothing_is_deleted_while_the_blob_that_stays_is_missing() -> None:
    bench = Bench()
    one = duplicate(bench)
    bench.store.delete(one.kept.key)
    bench.sweep()
    assert set(bench.store.objects) == {one.blob.key}


def test_nothing_is_deleted_that_is_no_duplicate_any_more() -> None:
    bench = Bench()
    one = duplicate(bench)
    bench.catalog.duplicates = lambda **_: [one]  # type: ignore[method-assign]
    bench.catalog.duplicate.clear()
    bench.sweep()
    assert set(bench.store.objects) == {one.kept.key, one.blob.key}


def test_a_day_is_the_least_that_a_duplicate_is_kept() -> None:
    with pytest.raises(ValueError, match="greater than or equal"):
        SweepSettings(duplicate_after=3600)


class _Turns:
    """A lock that is had for so many questions, and then lost."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = list(lengths)
        self.left = 0

    @contextmanager
    def take(self) -> Iterator[_Turns | None]:
        if not self.lengths:
            raise Unavailable("PostgreSQL is down")
        self.left = self.lengths.pop(0)
        yield self if self.left else None

    def is_held(self) -> bool:
        self.left -= 1
        return self.left >= 0


def test_turns_are_lost_waited_for_and_taken_again() -> None:
    stopped = threading.Event()
    turns = _Turns(30, 0, 30)
    bench = Bench()
    lost = bench.stored(1, seconds_ago=100)
    thread = threading.Thread(target=sweep_in_turn, args=(bench.sweeper, turns.take, stopped, 0.01))
    thread.start()
    wait_until(lambda: not turns.lengths and turns.left <= 0)
    stopped.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert turns.lengths == [] and bench.told("index") == [lost]


def test_what_killed_pods_left_of_uploads_is_looked_for_at_once_and_then_now_and_then() -> None:
    bench = Bench(upload_interval=3600)
    bench.sweeper.sweep(lambda: True)
    bench.sweeper.sweep(lambda: True)
    assert len(bench.clearings) == 1
    often = Bench(upload_interval=0)
    for _ in range(3):
        often.sweeper.sweep(lambda: True)
    assert len(often.clearings) == 3
