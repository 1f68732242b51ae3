"""What the health listener answers, and to whom."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from pydantic import SecretStr

from services.common.errors import Unavailable
from services.common.health import HealthServer, HealthUnguarded, serve_health
from services.common.settings import HealthSettings
from tests.waiting import wait_until

down: list[str] = []


def postgres() -> None:
    if down:
        raise Unavailable("PostgreSQL does not answer")


@pytest.fixture
def server() -> Iterator[HealthServer]:
    down.clear()
    server = serve_health(HealthSettings(port=0), {"postgres": postgres, "queue": lambda: None})
    assert server is not None
    yield server
    server.shutdown()
    server.server_close()


def get(server: HealthServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
        client.request(method, path, headers=headers)
        response = client.getresponse()
        return response.status, response.read().decode()


def test_a_process_that_answers_is_healthy_whatever_it_lacks(server: HealthServer) -> None:
    down.append("postgres")
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/healthz", method="HEAD") == (200, "")


def test_it_is_ready_while_everything_it_needs_answers(server: HealthServer) -> None:
    assert get(server, "/readyz")[0] == 200
    down.append("postgres")
    status, body = get(server, "/readyz")
    assert status == 503
    assert json.loads(body) == {"postgres": "PostgreSQL does not answer", "queue": "ok"}
    down.clear()
    assert get(server, "/readyz")[0] == 200


def test_what_never_answers_is_reported_and_asked_only_once(server: HealthServer) -> None:
    asked: list[str] = []
    thawed = threading.Event()

    def frozen() -> None:
        asked.append("frozen")
        thawed.wait(120)

    server.checks = {"frozen": frozen, "queue": lambda: None}
    for _ in range(2):
        status, body = get(server, "/readyz")
        assert status == 503
        assert json.loads(body) == {"frozen": "no answer within 3 s", "queue": "ok"}
    assert asked == ["frozen"]
    thawed.set()
    wait_until(lambda: get(server, "/readyz")[0] == 200)


def test_metrics_are_in_the_text_format(server: HealthServer) -> None:
    status, body = get(server, "/metrics")
    assert status == 200
    assert "# TYPE process_cpu_seconds_total counter" in body


def test_other_paths_and_foreign_hosts_get_nothing(server: HealthServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics", Host="evil.example")[0] == 421
    assert get(server, "/metrics", Host="localhost:1")[0] == 200
    assert get(server, "/metrics", Host="[::1]:1")[0] == 200


def test_a_token_guards_the_metrics_and_not_the_probes() -> None:
    settings = HealthSettings(port=0, host="0.0.0.0", bearer_token=SecretStr("secret"))
    server = serve_health(settings, {})
    assert server is not None
    with closing(server.socket):
        assert get(server, "/readyz")[0] == 200
        assert get(server, "/metrics")[0] == 401
        assert get(server, "/metrics", Authorization="Bearer wrong")[0] == 401
        assert get(server, "/metrics", Authorization="Bearer secret")[0] == 200
        server.shutdown()


def test_beyond_loopback_it_needs_a_token() -> None:
    with pytest.raises(HealthUnguarded):
        serve_health(HealthSettings(port=0, host="0.0.0.0"), {})


def test_without_a_port_there_is_no_listener() -> None:
    assert serve_health(HealthSettings(), {"postgres": postgres}) is None
