"""The queues on a real Redis: sending, depth, key spaces, and what is shown of a message."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis as redis_client

from services.common.adapters.celery_bus import CeleryBus
from services.common.errors import Unavailable
from services.common.events import INDEX_TASK, Event, from_json
from services.common.settings import RedisSettings
from services.embedded.redis import EmbeddedRedis
from tests.fakes.made_instances import PATIENT_NAME, instances_indexed, instances_stored
from tests.waiting import is_ever_quicker, wait_until


@pytest.fixture
def bus(fresh_redis: RedisSettings) -> Iterator[CeleryBus]:
    with closing(CeleryBus(fresh_redis)) as bus:
        yield bus


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[redis_client.Redis]:
    with closing(redis_client.Redis.from_url(redis_server.client_url)) as client:
        yield client


def test_each_queue_has_a_key_space_of_its_own(bus: CeleryBus, client: redis_client.Redis) -> None:
    bus.publish(instances_stored(1))
    bus.publish(instances_stored(2))
    bus.publish(instances_indexed(1))
    assert (bus.depth("index"), bus.depth("transcode")) == (2, 1)
    prefixes = {key.split(b":")[1] for key in client.scan_iter() if key.startswith(b"gantry:")}
    assert prefixes == {b"index", b"transcode"}
    assert all(key.startswith(b"gantry:") for key in client.scan_iter())


@pytest.mark.parametrize("event", [instances_stored(1, 2), instances_indexed(1)])
def test_a_message_brings_the_event_and_shows_a_summary(
    bus: CeleryBus, client: redis_client.Redis, event: Event
) -> None:
    bus.publish(event)
    queue = "index" if "Stored" in type(event).__name__ else "transcode"
    (raw,) = client.lrange(f"gantry:{queue}:{queue}", 0, -1)
    message = json.loads(raw)
    args, kwargs, _ = json.loads(base64.b64decode(message.pop("body")))
    assert (from_json(args[0]), kwargs) == (event, {})
    assert message["content-type"] == "application/json"
    assert message["headers"]["argsrepr"] == event.summary
    assert PATIENT_NAME not in json.dumps(message)


def test_the_producer_names_the_task_and_knows_no_consumer(
    bus: CeleryBus, client: redis_client.Redis
) -> None:
    bus.publish(instances_stored(1))
    (raw,) = client.lrange("gantry:index:index", 0, -1)
    assert json.loads(raw)["headers"]["task"] == INDEX_TASK


def test_a_flush_of_redis_takes_nothing_that_publishing_needs(
    bus: CeleryBus, client: redis_client.Redis
) -> None:
    bus.publish(instances_stored(1))
    client.flushall()
    assert bus.depth("index") == 0
    bus.publish(instances_stored(2))
    assert bus.depth("index") == 1


def test_a_forked_child_has_connections_of_its_own(bus: CeleryBus) -> None:
    bus.publish(instances_stored(1))
    child = os.fork()
    if child == 0:
        for number in range(50):
            bus.publish(instances_stored(number))
        os._exit(0)
    for number in range(50):
        bus.publish(instances_stored(number))
    _, status = os.waitpid(child, 0)
    assert (status, bus.depth("index")) == (0, 101)


@pytest.mark.parametrize("call", ["publish", "depth"])
def test_without_a_server_a_call_fails_at_once(call: str) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        with closing(CeleryBus(RedisSettings(url=url))) as bus:  # type: ignore[arg-type]

            def fail() -> None:
                with pytest.raises(Unavailable):
                    bus.publish(instances_stored(1)) if call == "publish" else bus.depth("index")

            fail()
            assert is_ever_quicker(0.5, fail)


def test_a_server_that_hangs_costs_a_second_and_recovers(bus: CeleryBus, redis_server: EmbeddedRedis) -> None:
    bus.publish(instances_stored(1))
    assert redis_server.pid is not None
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        for call in (lambda: bus.publish(instances_stored(2)), lambda: bus.depth("index")):

            def fail(call: Callable[[], object] = call) -> None:
                with pytest.raises(Unavailable):
                    call()

            assert is_ever_quicker(1.8, fail)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    wait_until(lambda: answers(bus))
    before = bus.depth("index")
    bus.publish(instances_stored(3))
    assert bus.depth("index") == before + 1 >= 2


def answers(bus: CeleryBus) -> bool:
    """Whether the server is back."""
    try:
        bus.depth("index")
    except Unavailable:
        return False
    return True
