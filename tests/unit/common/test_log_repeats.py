"""What a peer can cause at will is told once in a while, with a count; everything else each time."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from services.common import log_repeats, logs
from services.common.log_repeats import SECONDS, Repeats
from services.common.settings import LogSettings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def line(**fields: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, fields, None, None)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The line as a handler writes it."""
    return dict(vars(record)["msg"])


def violation(peer: str = "10.0.0.1:4711", **fields: object) -> logging.LogRecord:
    return line(event="association_ended", peer=peer, ending="protocol_violation", **fields)


def test_what_a_peer_repeats_is_told_once_and_then_with_a_count() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    assert repeats.filter(violation())
    for port in range(50):
        assert not repeats.filter(violation(f"10.0.0.1:{port}"))
    clock.now += SECONDS
    record = violation()
    assert repeats.filter(record)
    assert fields_of(record)["repeated"] == 50
    assert not repeats.filter(violation())
    clock.now += 2 * SECONDS
    record = violation()
    assert repeats.filter(record) and fields_of(record)["repeated"] == 1


def test_peers_and_kinds_are_told_apart() -> None:
    repeats = Repeats(Clock())
    for record in (
        violation(),
        violation("10.0.0.2:4711"),
        violation("[::1]:4711"),
        violation(calling_aet="CT"),
        line(event="request_refused", peer="10.0.0.1:1", service="store", error="InvalidInstance"),
        line(event="request_refused", peer="10.0.0.1:1", service="find", error="InvalidQuery"),
        line(event="instance_refused", known=True, calling_aet="CT", reason="a"),
        line(event="instance_refused", known=True, calling_aet="CT", reason="b"),
    ):
        assert repeats.filter(record), record.msg
        assert "repeated" not in fields_of(record)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "association_ended", "ending": "released", "peer": "10.0.0.1:1"},
        {"event": "instance_refused", "known": False, "reason": "a"},
        {"event": "task_failed"},
    ],
)
def test_everything_else_is_told_each_time(fields: dict[str, object]) -> None:
    repeats = Repeats(Clock())
    assert all(repeats.filter(line(**fields)) for _ in range(3))


def test_only_so_many_peers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_repeats, "_PEERS", 3)
    repeats = Repeats(Clock())
    for host in range(4):
        assert repeats.filter(violation(f"10.0.0.{host}:1"))
    assert not repeats.filter(violation("10.0.0.3:1"))
    assert repeats.filter(violation("10.0.0.0:1")), "forgotten, and told again"


def test_lines_of_ours_and_of_uvicorn_are_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers, root.level, structlog.get_config()
    try:
        logs.configure(LogSettings(form="json"), "test")
        for _ in range(5):
            structlog.get_logger("t").info("request_refused", service="store", error="X", peer="10.0.0.1:1")
            logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        events = [json.loads(said)["event"] for said in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers, level, config = before
        root.setLevel(level)
        structlog.configure(**config)
        structlog.contextvars.clear_contextvars()
    assert events == ["request_refused", "Invalid HTTP request received."]
