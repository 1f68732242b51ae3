"""Workers that die, hang or lose count: nothing is lost, nothing runs for ever, no neighbour suffers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.celery_worker import EXIT_STALLED
from services.common.events import INDEX_TASK
from services.common.settings import RedisSettings
from tests.fakes.folder_records import FolderAttempts, FolderQuarantine, notes
from tests.fakes.made_instances import PATIENT_NAME, instances_stored
from tests.queues import is_alive, running_worker, wait_for


@pytest.fixture
def bus(fresh_redis: RedisSettings) -> Iterator[CeleryBus]:
    with closing(CeleryBus(fresh_redis)) as bus:
        yield bus


def done(folder: Path) -> set[str]:
    return set(notes(folder / "done"))


def test_a_task_that_kills_its_worker_is_quarantined_and_its_neighbours_are_not(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "kill-2").touch()
    for number in (1, 2, 3):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path) as worker:
        wait_for(lambda: FolderQuarantine(tmp_path).entries(), 60, "the quarantine")
        wait_for(lambda: done(tmp_path) == {"1", "3"} and bus.depth("index") == 0)
        (entry,) = FolderQuarantine(tmp_path).entries()
        assert (entry.kind, entry.reason) == (INDEX_TASK, "was begun 3 times and never ended")
        begun = len(notes(tmp_path / "begun"))
        time.sleep(2)
        assert len(notes(tmp_path / "begun")) == begun == 2 + 3, "it is not delivered for ever"
        assert worker.process.poll() is None
        assert worker.stop() == 0
        assert PATIENT_NAME not in worker.log
    assert FolderAttempts(tmp_path).open() == []


def test_of_a_batch_that_kills_its_worker_only_the_bad_instance_is_quarantined(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "kill-2").touch()
    bus.publish(instances_stored(1, 2, 3))
    with running_worker(fresh_redis, tmp_path):
        wait_for(lambda: FolderQuarantine(tmp_path).entries() and done(tmp_path) == {"1", "3"}, 60)
    assert len(FolderQuarantine(tmp_path).entries()) == 1


def test_a_task_that_hangs_is_killed_at_the_hard_limit_and_quarantined(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "hang-1").touch()
    bus.publish(instances_stored(1))
    bus.publish(instances_stored(2))
    with running_worker(fresh_redis, tmp_path, limits={"hard_limit": 1, "visibility": 10}) as worker:
        wait_for(lambda: FolderQuarantine(tmp_path).entries() and done(tmp_path) == {"2"}, 60)
        assert PATIENT_NAME not in worker.log
    assert len(notes(tmp_path / "begun")) == 3 + 1


def test_a_worker_killed_after_its_work_publishes_once_the_message_is_redelivered(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "die-after-1").touch()
    bus.publish(instances_stored(1))
    with running_worker(fresh_redis, tmp_path):
        wait_for(lambda: bus.depth("transcode") == 1)
    assert notes(tmp_path / "done") == ["1", "1"]
    assert FolderQuarantine(tmp_path).entries() == []


def test_what_a_killed_worker_held_is_back_soon_after_its_visibility(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    limits = {"hard_limit": 2, "visibility": 3, "restore": 1}
    (tmp_path / "slow").write_text("60")
    for number in range(6):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path, limits=limits | {"hard_limit": 90}, processes=2) as worker:
        wait_for(lambda: len(notes(tmp_path / "begun")) == 2, what="the first two messages")
        children = worker.children()
        assert len(children) >= 2
        worker.kill()
        wait_for(lambda: not any(map(is_alive, children)), what="the end of the children")
    (tmp_path / "slow").unlink()
    began = time.monotonic()
    with running_worker(fresh_redis, tmp_path, limits=limits):
        wait_for(lambda: len(done(tmp_path)) == 6, 40, what="the return of what was held")
    assert time.monotonic() - began < 3 + 5


def test_two_queues_keep_their_own_visibility(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    """A transcode that takes longer than an index message may is not started a second time meanwhile."""
    index, transcode = tmp_path / "index", tmp_path / "transcode"
    for folder in (index, transcode):
        folder.mkdir()
    (transcode / "slow").write_text("6")
    bus.publish(instances_stored(1))
    with (
        running_worker(fresh_redis, index, limits={"hard_limit": 1, "visibility": 2, "restore": 0.5}),
        running_worker(
            fresh_redis,
            transcode,
            queue="transcode",
            processes=2,
            limits={"hard_limit": 60, "visibility": 90, "restore": 0.5},
        ),
    ):
        wait_for(lambda: done(transcode) == {"1"}, 40)
        time.sleep(1)
    assert len(notes(transcode / "begun")) == 1
    assert bus.depth("transcode") == 0


def test_a_worker_that_takes_nothing_from_a_full_queue_ends_itself(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    """Its two tasks are stuck for longer than any may run, as if they had been lost in the pool."""
    (tmp_path / "slow").write_text("3600")
    limits = {"hard_limit": 1, "visibility": 60, "stall": 1.5}
    with running_worker(fresh_redis, tmp_path, limits=limits, lose_time_limit=True) as worker:
        bus.publish(instances_stored(1))
        wait_for(lambda: notes(tmp_path / "begun"))
        time.sleep(3)
        assert worker.process.poll() is None, "with an empty queue it has nothing to take"
        bus.publish(instances_stored(2))
        wait_for(lambda: worker.process.poll() is not None, what="the end of the worker")
        assert worker.process.returncode == EXIT_STALLED
        assert "worker_stalled" in worker.log


def test_a_busy_worker_is_not_taken_for_a_stalled_one(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("2.5")
    limits = {"hard_limit": 60, "visibility": 90, "stall": 1}
    for number in (1, 2):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path, limits=limits) as worker:
        wait_for(lambda: done(tmp_path) == {"1", "2"})
        assert worker.process.poll() is None
    assert Counter(notes(tmp_path / "done")) == Counter("12")


def test_a_worker_told_to_stop_ends_what_it_holds(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("1.5")
    for number in (1, 2, 3):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path) as worker:
        wait_for(lambda: notes(tmp_path / "begun"))
        assert worker.stop() == 0
    assert len(done(tmp_path)) == 1
    assert bus.depth("index") == 2


def test_a_worker_told_to_stop_gives_back_what_outlasts_its_grace(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("3600")
    bus.publish(instances_stored(1))
    limits = {"hard_limit": 3000, "visibility": 4000, "grace": 1.0}
    with running_worker(fresh_redis, tmp_path, limits=limits) as worker:
        wait_for(lambda: notes(tmp_path / "begun"))
        children = worker.children()
        assert worker.stop(15) == 0
        assert not any(map(is_alive, children))
    assert bus.depth("index") == 1
