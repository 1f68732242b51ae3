"""What becomes of a message: done, postponed, tried again, split or quarantined."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable

import pytest
import structlog

from services.common.errors import BlobMissing, InvalidInstance, Unavailable
from services.common.events import INDEX_TASK, Event, from_json, to_json
from services.common.health import metrics
from services.common.keys import is_entry_id, received_at
from services.common.workers import OUTCOMES, Patience, Runner, held_entry_id
from tests.fakes.made_instances import PATIENT_NAME, instances_indexed, instances_stored
from tests.fakes.memory_attempts import MemoryAttempts
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine


class Bench:
    """A runner with everything it needs, and a use case that the test gives."""

    def __init__(self, use_case: Callable[[Event], object]) -> None:
        self.attempts = MemoryAttempts()
        self.quarantine = MemoryQuarantine()
        self.bus = MemoryBus()
        self.runner = Runner(
            task=INDEX_TASK,
            use_case=use_case,
            attempts=self.attempts,
            quarantine=self.quarantine,
            bus=self.bus,
            patience=Patience(shortest_pause=0.0, longest_pause=0.0),
        )

    def until_done(self, text: str, *, most: int = 20) -> int:
        """Take the message as often as it comes back; gives how often that was."""
        for times in range(1, most + 1):
            if self.runner(text):
                return times
        raise AssertionError("the message never came to an end")


def raising(*errors: BaseException | None) -> Callable[[Event], None]:
    """A use case that raises these in turn, and the last of them for ever."""
    left = list(errors)

    def use_case(event: Event) -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return use_case


ONE = to_json(instances_stored(1))


def test_a_message_is_done_with_when_the_use_case_returns() -> None:
    seen: list[Event] = []
    bench = Bench(seen.append)
    assert bench.runner(ONE)
    assert seen == [from_json(ONE)]
    assert bench.attempts.open == {}


def test_an_outage_of_any_length_loses_and_quarantines_nothing() -> None:
    bench = Bench(raising(*[Unavailable("PostgreSQL is down")] * 12, None))
    assert bench.until_done(ONE) == 13
    assert bench.quarantine.held == {}
    assert bench.attempts.open == {}


def test_a_full_disk_is_an_outage_and_counts_as_no_attempt() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    bench = Bench(raising(full, full, full, full, full, None))
    assert bench.until_done(ONE) == 6
    assert not bench.quarantine.entries()
    assert bench.attempts.begin(INDEX_TASK, hashlib.sha256(ONE.encode()).hexdigest()) == 1


def test_a_broken_file_is_no_full_disk() -> None:
    bench = Bench(raising(OSError("broken data stream")))
    assert bench.until_done(ONE) == 3
    assert len(bench.quarantine.entries()) == 1


def test_an_outage_that_hits_the_attempts_too_is_not_counted_once_it_ends() -> None:
    def use_case(event: Event) -> None:
        if down[0]:
            bench.attempts.down = True
            raise Unavailable("PostgreSQL is down")

    down = [True]
    bench = Bench(use_case)
    for _ in range(5):
        assert not bench.runner(ONE)
        bench.attempts.down = False
    down[0] = False
    assert bench.runner(ONE)
    assert bench.quarantine.held == {}
    assert bench.attempts.open == {}


def test_pauses_grow_with_an_outage_and_stay_bounded() -> None:
    patience = Patience(shortest_pause=0.5, longest_pause=10.0)
    bounds = {1: (0.25, 0.5), 2: (0.5, 1.0), 3: (1.0, 2.0), 50: (5.0, 10.0), 5000: (5.0, 10.0)}
    for failures, (shortest, longest) in bounds.items():
        pauses = [patience.pause(failures) for _ in range(200)]
        assert shortest <= min(pauses) < max(pauses) <= longest, f"after {failures} failures"


def test_the_pause_after_an_outage_is_waited_out() -> None:
    bench = Bench(raising(Unavailable("down")))
    bench.runner._patience = Patience(shortest_pause=0.1, longest_pause=0.1)
    began = time.monotonic()
    assert not bench.runner(ONE)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(
    ("error", "tag"),
    [
        (InvalidInstance("(0020,000D) is empty", tag=0x0020000D), 0x0020000D),
        (BlobMissing("gone"), None),
    ],
)
def test_an_invalid_instance_is_quarantined_at_once(error: Exception, tag: int | None) -> None:
    bench = Bench(raising(error))
    assert bench.until_done(ONE) == 1
    (entry,) = bench.quarantine.held.values()
    assert (entry.kind, entry.reason, entry.tag, entry.blob) == (INDEX_TASK, str(error), tag, None)
    assert from_json(entry.payload) == from_json(ONE)
    assert bench.attempts.open == {}


def test_an_unknown_error_is_tried_three_times_and_then_quarantined() -> None:
    bench = Bench(raising(ZeroDivisionError("division by zero")))
    assert bench.until_done(ONE) == 3
    (entry,) = bench.quarantine.held.values()
    assert entry.reason == "ZeroDivisionError: division by zero"
    assert bench.attempts.open == {}


def test_an_unknown_error_that_passes_leaves_nothing_behind() -> None:
    bench = Bench(raising(ZeroDivisionError(), ZeroDivisionError(), None))
    assert bench.until_done(ONE) == 3
    assert bench.quarantine.held == {}
    assert bench.attempts.open == {}


def test_an_attempt_that_never_ends_is_quarantined_after_the_third() -> None:
    class Killed(BaseException):
        pass

    bench = Bench(raising(Killed()))
    for _ in range(3):
        with pytest.raises(Killed):
            bench.runner(ONE)
    assert bench.quarantine.held == {}
    assert bench.runner(ONE)
    (entry,) = bench.quarantine.held.values()
    assert entry.reason == "was begun 3 times and never ended"
    assert bench.attempts.open == {}


def test_of_a_batch_only_the_bad_instance_is_quarantined() -> None:
    done: list[str] = []

    def use_case(event: Event) -> None:
        uids = [instance.key.sop_instance_uid for instance in event.instances]
        if "1.2.3.4.2" in uids:
            raise InvalidInstance("it is bad")
        done.extend(uids)

    bench = Bench(use_case)
    assert bench.runner(to_json(instances_stored(1, 2, 3)))
    assert (done, bench.quarantine.held) == ([], {})
    parts = bench.bus.queues.pop("index")
    assert [len(part.instances) for part in parts] == [1, 1, 1]
    for part in parts:
        assert bench.runner(to_json(part))
    assert done == ["1.2.3.4.1", "1.2.3.4.3"]
    (entry,) = bench.quarantine.held.values()
    assert from_json(entry.payload).instances[0].key.sop_instance_uid == "1.2.3.4.2"


def test_a_batch_that_cannot_be_split_now_comes_back() -> None:
    bench = Bench(raising(BlobMissing("gone")))
    bench.bus.down = True
    batch = to_json(instances_indexed(1, 2))
    assert not bench.runner(batch)
    bench.bus.down = False
    assert bench.runner(batch)
    assert [len(part.instances) for part in bench.bus.queues["transcode"]] == [1, 1]


def test_a_message_that_is_no_event_is_quarantined() -> None:
    bench = Bench(raising(None))
    assert bench.runner('{"kind":"instances_stored","v":9}')
    (entry,) = bench.quarantine.held.values()
    assert entry.payload == '{"kind":"instances_stored","v":9}'


def test_nothing_is_settled_while_the_quarantine_is_down() -> None:
    bench = Bench(raising(InvalidInstance("bad")))
    bench.quarantine.down = True
    for _ in range(5):
        assert not bench.runner(ONE)
    bench.quarantine.down = False
    assert bench.until_done(ONE) == 1
    assert len(bench.quarantine.held) == 1


def test_the_same_blob_is_held_once_under_a_name_as_old_as_itself() -> None:
    key = instances_stored(1).instances[0].blob.key
    entry_id = held_entry_id(INDEX_TASK, key)
    assert entry_id == held_entry_id(INDEX_TASK, key) != held_entry_id("another", key)
    assert is_entry_id(entry_id)
    assert int(entry_id[:12], 16) == round(received_at(key).timestamp() * 1000)
    assert is_entry_id(held_entry_id(INDEX_TASK, "imported/by/another/name"))


def test_logs_hold_no_text_of_an_unknown_error() -> None:
    bench = Bench(raising(ValueError(f"invalid input {PATIENT_NAME!r}")))
    with structlog.testing.capture_logs() as lines:
        bench.until_done(ONE)
    assert [line["event"] for line in lines] == ["task_failed"] * 3 + ["task_quarantined"]
    assert PATIENT_NAME not in repr(lines)
    assert lines[0]["error"] == "ValueError" and "test_workers" in lines[0]["place"]


def test_every_outcome_is_counted_from_the_start_as_zero() -> None:
    Runner(
        task="gantry.never_run",
        use_case=raising(None),
        attempts=MemoryAttempts(),
        quarantine=MemoryQuarantine(),
        bus=MemoryBus(),
    )
    told = metrics().decode()
    for outcome in OUTCOMES:
        labels = f'outcome="{outcome}",task="gantry.never_run"'
        assert f"gantry_task_duration_seconds_count{{{labels}}} 0.0" in told
