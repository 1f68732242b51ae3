"""What a worker shows of its messages: counts and keys, and nothing of a patient."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from services.common.adapters.celery_bus import CeleryBus, queue_app
from services.common.events import INDEX_TASK, to_json
from services.common.settings import RedisSettings
from services.embedded.redis import EmbeddedRedis
from tests.fakes.folder_records import FolderQuarantine, notes
from tests.fakes.made_instances import PATIENT_NAME, instances_stored
from tests.queues import running_worker
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def bus(fresh_redis: RedisSettings) -> Iterator[CeleryBus]:
    with closing(CeleryBus(fresh_redis)) as bus:
        yield bus


class Monitor:
    """Catches what ``celery events`` would see."""

    def __init__(self, settings: RedisSettings, client: redis_client.Redis) -> None:
        """Listening once it is there; `client` asks the same Redis."""
        self.seen: list[dict[str, Any]] = []
        self._app = queue_app("index", settings, {})
        self._connection = self._app.connection()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self.seen.append})
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False}, daemon=True)
        self._thread.start()
        wait_until(lambda: client.pubsub_numpat() or client.pubsub_channels(), explain="it does not listen")

    def kinds(self) -> set[str]:
        return {event["type"] for event in self.seen}

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(PATIENCE_SECONDS)
        self._connection.close()
        self._app.close()


def secrets_in(text: str, payload: str) -> list[str]:
    """What of a message's content stands in `text`, in any of the forms it takes on its way."""
    header = json.loads(payload)["instances"][0]["header"][2]
    forms = {
        "name": PATIENT_NAME,
        "header": header[:24],
        "body": base64.b64encode(json.dumps([[payload], {}, {}]).encode()).decode()[120:160],
    }
    return [form for form, value in forms.items() if value in text]


def test_the_search_for_secrets_finds_them() -> None:
    payload = to_json(instances_stored(1))
    body = base64.b64encode(json.dumps([[payload], {}, {"callbacks": None}]).encode()).decode()
    assert secrets_in(PATIENT_NAME, payload) == ["name"]
    assert secrets_in(payload, payload) == ["header"]
    assert secrets_in(body, payload) == ["body"]


@pytest.mark.parametrize("fate", ["done", "kill", "hang"])
def test_events_and_logs_show_a_summary_alone(
    fresh_redis: RedisSettings, redis_server: EmbeddedRedis, bus: CeleryBus, tmp_path: Path, fate: str
) -> None:
    if fate != "done":
        (tmp_path / f"{fate}-1").touch()
    event = instances_stored(1)
    with (
        closing(redis_client.Redis.from_url(redis_server.client_url)) as client,
        closing(Monitor(fresh_redis, client)) as monitor,
    ):
        limits = {"hard_limit": 1 if fate == "hang" else 60, "visibility": 90}
        order = {"events": True, "log_level": "DEBUG", "limits": limits}
        with running_worker(fresh_redis, tmp_path, **order) as worker:
            bus.publish(event)
            wait_until(lambda: notes(tmp_path / "done") or FolderQuarantine(tmp_path).entries())
            wait_until(lambda: "task-succeeded" in monitor.kinds())
            assert worker.stop() == 0
    shown = json.dumps(monitor.seen, default=repr)
    received = next(seen for seen in monitor.seen if seen["type"] == "task-received")
    assert received["args"] == event.summary
    assert "task-failed" in monitor.kinds() or fate != "hang"
    for text in (shown, worker.log):
        assert secrets_in(text, to_json(event)) == []
    assert event.instances[0].blob.key in worker.log or fate != "done"


@pytest.mark.parametrize("defect", ["unknown task", "no task", "no JSON", "no arguments"])
def test_a_message_that_no_task_takes_is_not_quoted_in_the_log(
    fresh_redis: RedisSettings,
    bus: CeleryBus,
    redis_server: EmbeddedRedis,
    tmp_path: Path,
    defect: str,
) -> None:
    event = instances_stored(1)
    bus.publish(event)
    with closing(redis_client.Redis.from_url(redis_server.client_url)) as client:
        message = json.loads(client.lpop("gantry:index:index"))
        match defect:
            case "unknown task":
                message["headers"]["task"] = "gantry.index.another"
            case "no task":
                del message["headers"]["task"]
            case "no JSON":
                message["content-type"] = "application/x-python-serialize"
            case "no arguments":
                message["body"] = base64.b64encode(to_json(event).encode()).decode()
        client.lpush("gantry:index:index", json.dumps(message))
    bus.publish(instances_stored(2))
    with running_worker(fresh_redis, tmp_path, log_level="DEBUG") as worker:
        wait_until(lambda: "2" in notes(tmp_path / "done"))
        assert worker.process.poll() is None
    assert secrets_in(worker.log, to_json(event)) == []


def test_nobody_can_ask_a_worker_for_its_messages(
    fresh_redis: RedisSettings, bus: CeleryBus, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("2")
    with running_worker(fresh_redis, tmp_path):
        bus.publish(instances_stored(1))
        wait_until(lambda: notes(tmp_path / "begun"))
        with closing(queue_app("index", fresh_redis, {})) as app:
            assert app.control.inspect(timeout=0.5).active() is None
            assert INDEX_TASK not in app.tasks
