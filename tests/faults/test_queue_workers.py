"""Workers that die, hang or lose count: nothing is lost, nothing runs for ever, no neighbour suffers."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis as redis_client

from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.celery_worker import EXIT_STALLED
from services.common.events import INDEX_TASK
from services.common.settings import RedisSettings
from services.embedded.redis import EmbeddedRedis
from tests.fakes.folder_records import FolderAttempts, FolderQuarantine, notes
from tests.fakes.made_instances import PATIENT_NAME, instances_indexed, instances_stored
from tests.queues import is_alive, running_worker
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def bus(fresh_redis: RedisSettings) -> Iterator[CeleryBus]:
    with closing(CeleryBus(fresh_redis)) as bus:
        yield bus


def done(folder: Path) -> set[str]:
    return set(notes(folder / "done"))


def held(server: EmbeddedRedis, queue: str) -> int:
    """How many messages of a queue its workers have taken and not acknowledged."""
    with closing(redis_client.Redis.from_url(server.client_url)) as client:
        return int(client.hlen(f"gantry:{queue}:unacked"))


def test_a_task_that_kills_its_worker_is_quarantined_and_its_neighbours_are_not(
    fresh_redis: RedisSettings, redis_server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "kill-2").touch()
    for number in (1, 2, 3):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path) as worker:
        wait_until(lambda: FolderQuarantine(tmp_path).entries(), explain="nothing is quarantined")
        wait_until(lambda: done(tmp_path) == {"1", "3"} and bus.depth("index") == 0)
        (entry,) = FolderQuarantine(tmp_path).entries()
        assert (entry.kind, entry.reason) == (INDEX_TASK, "was begun 3 times and never ended")
        wait_until(lambda: held(redis_server, "index") == 0, explain="it is delivered for ever")
        assert bus.depth("index") == 0
        assert Counter(notes(tmp_path / "begun")) == {"1": 1, "2": 3, "3": 1}
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
        wait_until(lambda: FolderQuarantine(tmp_path).entries() and done(tmp_path) == {"1", "3"})
    assert len(FolderQuarantine(tmp_path).entries()) == 1


def test_a_task_that_hangs_is_killed_at_the_hard_limit_and_quarantined(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "hang-1").touch()
    bus.publish(instances_stored(1))
    bus.publish(instances_stored(2))
    with running_worker(fresh_redis, tmp_path, limits={"hard_limit": 2, "visibility": 90}) as worker:
        wait_until(lambda: FolderQuarantine(tmp_path).entries() and done(tmp_path) == {"2"})
        assert PATIENT_NAME not in worker.log
    assert notes(tmp_path / "begun").count("1") == 3


def test_a_worker_killed_after_its_work_publishes_once_the_message_is_redelivered(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "die-after-1").touch()
    bus.publish(instances_stored(1))
    with running_worker(fresh_redis, tmp_path):
        wait_until(lambda: bus.depth("transcode") == 1)
    assert notes(tmp_path / "done") == ["1", "1"]
    assert FolderQuarantine(tmp_path).entries() == []


def test_what_a_killed_worker_held_is_back_soon_after_its_visibility(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    """By itself kombu would look for it after 100 s at the earliest."""
    limits = {"hard_limit": 900, "visibility": 3, "restore": 1}
    (tmp_path / "held").touch()
    for number in range(6):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path, limits=limits, processes=2) as worker:
        wait_until(lambda: len(notes(tmp_path / "begun")) == 2)
        children = worker.children()
        assert len(children) >= 2
        worker.kill()
        wait_until(lambda: not any(map(is_alive, children)), explain="the children live on")
    (tmp_path / "held").unlink()
    with running_worker(fresh_redis, tmp_path, limits=limits):
        wait_until(lambda: len(done(tmp_path)) == 6, 60, "what was held does not return")


def test_two_queues_keep_their_own_visibility(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    """A transcode that takes longer than an index message may is not started a second time meanwhile."""
    index, transcode = tmp_path / "index", tmp_path / "transcode"
    for folder in (index, transcode):
        folder.mkdir()
    (transcode / "slow").write_text("4")
    bus.publish(instances_stored(1))
    brief = {"hard_limit": 60, "visibility": 1, "restore": 0.5}
    with running_worker(fresh_redis, index, limits=brief, publishes=False):
        wait_until(lambda: done(index) == {"1"})
        bus.publish(instances_indexed(1))
        limits = {"hard_limit": 600, "visibility": 900, "restore": 0.5}
        with running_worker(fresh_redis, transcode, queue="transcode", processes=2, limits=limits):
            wait_until(lambda: done(transcode) == {"1"})
    assert notes(transcode / "begun") == ["1"]
    assert bus.depth("transcode") == 0


def test_a_worker_that_takes_nothing_from_a_full_queue_ends_itself(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    """Its two tasks are stuck for longer than any may run, as if they had been lost in the pool."""
    (tmp_path / "held").touch()
    limits = {"hard_limit": 1, "visibility": 900, "stall": 3}
    with running_worker(fresh_redis, tmp_path, limits=limits, lose_time_limit=True) as worker:
        bus.publish(instances_stored(1))
        wait_until(lambda: notes(tmp_path / "begun"))
        time.sleep(4)
        assert worker.process.poll() is None, "with an empty queue it has nothing to take"
        bus.publish(instances_stored(2))
        wait_until(lambda: worker.process.poll() is not None, explain="the worker does not end")
        assert worker.process.returncode == EXIT_STALLED
        assert "worker_stalled" in worker.log


def test_a_busy_worker_is_not_taken_for_a_stalled_one(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("5")
    limits = {"hard_limit": 600, "visibility": 900, "stall": 3}
    for number in (1, 2):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path, limits=limits) as worker:
        wait_until(lambda: done(tmp_path) == {"1"})
        (tmp_path / "slow").unlink(missing_ok=True)
        wait_until(lambda: done(tmp_path) == {"1", "2"})
        assert worker.process.poll() is None
    assert Counter(notes(tmp_path / "done")) == Counter("12")


def test_a_worker_told_to_stop_ends_what_it_holds(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "held").touch()
    for number in (1, 2, 3):
        bus.publish(instances_stored(number))
    with running_worker(fresh_redis, tmp_path) as worker:
        wait_until(lambda: notes(tmp_path / "begun"))
        worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: notes(tmp_path / "stopping"))
        (tmp_path / "held").unlink()
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    assert len(done(tmp_path)) == 1
    assert bus.depth("index") == 2


def test_a_worker_told_to_stop_gives_back_what_outlasts_its_grace(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "held").touch()
    bus.publish(instances_stored(1))
    limits = {"hard_limit": 3000, "visibility": 4000, "grace": 1.0}
    with running_worker(fresh_redis, tmp_path, limits=limits) as worker:
        wait_until(lambda: notes(tmp_path / "begun"))
        children = worker.children()
        assert worker.stop() == 0
        wait_until(lambda: not any(map(is_alive, children)))
    assert bus.depth("index") == 1
