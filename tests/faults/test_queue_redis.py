"""Redis dies, hangs, forgets everything or drops its clients: the backlog drains without anybody's help."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis as redis_client

from services.common.adapters.celery_bus import CeleryBus
from services.common.errors import Unavailable
from services.common.publisher import BatchingPublisher, BatchLimits
from services.embedded.lock import ArchiveLock
from services.embedded.redis import EmbeddedRedis
from tests.fakes.folder_records import FolderQuarantine, notes
from tests.fakes.made_instances import instances_stored, stored_instance
from tests.queues import running_worker
from tests.waiting import PATIENCE_SECONDS, wait_until

LIMITS = {"hard_limit": 60, "visibility": 6, "restore": 0.5}
"""What is lost is back soon.  A task that has no time on a busy machine is not killed; it may run twice."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of this test's own, to be broken."""
    with ArchiveLock(tmp_path / "archive") as lock:
        server = EmbeddedRedis(lock)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def bus(server: EmbeddedRedis) -> Iterator[CeleryBus]:
    with closing(CeleryBus(server.settings)) as bus:
        yield bus


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    wait_until(lambda: is_written(server), explain="its append-only file is not written")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


def ask(server: EmbeddedRedis, *command: str) -> object:
    with closing(redis_client.Redis.from_url(server.client_url)) as client:
        return client.execute_command(*command)


def is_written(server: EmbeddedRedis) -> bool:
    """Whether it holds nothing back for its append-only file, as it may do while that is synced."""
    with closing(redis_client.Redis.from_url(server.client_url)) as client:
        return int(client.info("persistence")["aof_buffer_length"]) == 0


def publish(bus: CeleryBus, numbers: range) -> None:
    for number in numbers:
        bus.publish(instances_stored(number))


def all_done(folder: Path, count: int) -> Callable[[], bool]:
    return lambda: set(notes(folder / "done")) == {str(number) for number in range(count)}


def is_drained(server: EmbeddedRedis) -> bool:
    """Whether no message waits, is held by a worker, or is on its way from one to the other."""
    for _ in range(2):
        if ask(server, "LLEN", "gantry:index:index") or ask(server, "HLEN", "gantry:index:unacked"):
            return False
        time.sleep(0.5)
    return True


def drain(server: EmbeddedRedis, bus: CeleryBus, folder: Path, count: int, *, cuts: int) -> None:
    """Wait for the backlog's end; what was lost on the way is told of again, as the sweeper does.

    kombu pops a message before it notes that it holds it: a connection that is cut between the two loses
    that one message.
    """
    wait_until(
        lambda: all_done(folder, count)() or is_drained(server),
        240,
        lambda: f"{len(set(notes(folder / 'done')))} of {count} done",
    )
    lost = {*range(count)} - {int(number) for number in notes(folder / "done")}
    assert len(lost) <= cuts, lost
    for number in lost:
        bus.publish(instances_stored(number))
    wait_until(all_done(folder, count), explain="what is told of again is not done")


def test_killed_and_started_again_it_goes_on(server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("0.1")
    with running_worker(server.settings, tmp_path, limits=LIMITS, processes=2) as worker:
        publish(bus, range(60))
        wait_until(lambda: len(notes(tmp_path / "done")) > 5)
        kill(server)
        with pytest.raises(Unavailable):
            bus.depth("index")
        time.sleep(1)
        server.start()
        publish(bus, range(60, 70))
        drain(server, bus, tmp_path, 70, cuts=1)
        wait_until(lambda: bus.depth("index") == 0)
        assert worker.process.poll() is None
    assert FolderQuarantine(tmp_path).entries() == []


def test_a_worker_may_start_before_it(server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path) -> None:
    kill(server)
    with running_worker(server.settings, tmp_path, limits=LIMITS) as worker:
        wait_until(lambda: "Cannot connect" in worker.log)
        server.start()
        publish(bus, range(3))
        wait_until(all_done(tmp_path, 3))
        assert worker.stop() == 0


def test_a_worker_ends_when_told_to_while_it_is_down(
    server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path
) -> None:
    with running_worker(server.settings, tmp_path, limits=LIMITS) as worker:
        publish(bus, range(1))
        wait_until(all_done(tmp_path, 1))
        kill(server)
        wait_until(lambda: "Cannot connect" in worker.log)
        assert worker.stop() == 0


def test_flushed_it_takes_and_gives_what_comes_after(
    server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("0.2")
    with running_worker(server.settings, tmp_path, limits=LIMITS) as worker:
        publish(bus, range(20))
        wait_until(lambda: notes(tmp_path / "done"))
        ask(server, "FLUSHALL")
        (tmp_path / "slow").unlink()
        publish(bus, range(100, 120))
        wait_until(lambda: {str(n) for n in range(100, 120)} <= set(notes(tmp_path / "done")))
        assert worker.process.poll() is None


@pytest.mark.timeout(600)
def test_dropped_clients_come_back_again_and_again(
    server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("0.05")
    with running_worker(server.settings, tmp_path, limits=LIMITS, processes=2) as worker:
        publish(bus, range(80))
        for _ in range(5):
            seen = len(notes(tmp_path / "done"))
            wait_until(lambda seen=seen: len(notes(tmp_path / "done")) > seen + 3)  # type: ignore[misc]
            ask(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        drain(server, bus, tmp_path, 80, cuts=5)
        wait_until(lambda: ask(server, "HLEN", "gantry:index:unacked") == 0, explain="something stays held")
        assert worker.process.poll() is None
    assert FolderQuarantine(tmp_path).entries() == []


def test_hung_for_a_while_it_goes_on(server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("0.1")
    with running_worker(server.settings, tmp_path, limits=LIMITS) as worker:
        publish(bus, range(30))
        wait_until(lambda: len(notes(tmp_path / "done")) > 3)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(7)
        os.kill(server.pid, signal.SIGCONT)
        wait_until(all_done(tmp_path, 30), 240, lambda: f"{len(notes(tmp_path / 'done'))} of 30 done")
        assert worker.process.poll() is None


def test_offers_made_while_it_was_down_are_told_when_it_is_back(
    server: EmbeddedRedis, bus: CeleryBus
) -> None:
    publisher = BatchingPublisher(bus, limits=BatchLimits(seconds=0.02, longest_pause_seconds=0.5))
    kill(server)
    for number in range(250):
        publisher.offer(stored_instance(number))
    with pytest.raises(Unavailable):
        bus.depth("index")
    time.sleep(1)
    server.start()
    wait_until(lambda: bus.depth("index") >= 3)
    assert publisher.close(PATIENCE_SECONDS)
