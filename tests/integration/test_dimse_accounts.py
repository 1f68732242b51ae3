"""N-ACTION, and what an association leaves behind: one log line and its counts."""

from __future__ import annotations

import contextvars
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from services.common.dimse import connection, messages
from services.common.dimse.acceptor import AcceptedContext, Association, Command, Response
from services.common.dimse.messages import CommandField
from services.common.errors import InvalidInstance, InvalidQuery
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.raw_peer import (
    LIMIT_EXCEEDED,
    RELEASE_RP,
    RELEASE_RQ,
    associate_rq,
    p_data,
    pdv,
    raw_peer,
    store_rq,
)


class Commitment:
    """Takes every action but one of type 2."""

    def __init__(self) -> None:
        self.seen: list[tuple[Command, bytes]] = []

    def action(
        self, association: Association, command: Command, context: AcceptedContext, information: bytes
    ) -> Response:
        if command.action_type_id == 2:
            raise InvalidQuery("no such action")
        self.seen.append((command, information))
        return Response(status=0x0000)


@pytest.mark.parametrize(("action_type", "status"), [(1, 0x0000), (2, 0x0115)])
def test_an_action_is_answered(action_type: int, status: int) -> None:
    commitment = Commitment()
    command = Command(
        command_field=CommandField.N_ACTION_RQ,
        message_id=5,
        requested_sop_class_uid="1.2.840.10008.1.20.1",
        requested_sop_instance_uid="1.2.840.10008.1.20.1.1",
        action_type_id=action_type,
        has_data_set=True,
    )
    with (
        listening(replace(MemoryArchive().handlers, action=commitment)) as running,
        raw_peer(running.port) as peer,
    ):
        peer.associate()
        peer.send(
            p_data(pdv(3, messages.encode(command), command=True), pdv(3, b"information", command=False))
        )
        answer = peer.command()
    assert (answer.command_field, answer.status, answer.action_type_id) == (0x8130, status, action_type)
    assert answer.affected_sop_instance_uid == "1.2.840.10008.1.20.1.1"
    assert [information for _, information in commitment.seen] == [b"information"] * (status == 0)


def total(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Sequence[MutableMapping[str, Any]]:
    """What connections log, whatever logging other tests have set up."""
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])
    monkeypatch.setattr(connection, "_log", logger)
    return capture.entries


def test_one_log_line_and_the_counts(lines: Sequence[MutableMapping[str, Any]]) -> None:
    archive = MemoryArchive()
    errors: list[Exception | None] = [None, InvalidInstance("bad", tag=0x0020000D), None]
    archive.refuse_store = lambda command: errors.pop(0)
    before = {
        "released": total("gantry_dimse_associations_total", ending="released"),
        "stored": total("gantry_dimse_stores_total", status="0000"),
        "refused": total("gantry_dimse_stores_total", status="A900"),
        "bytes": total("gantry_dimse_received_bytes_total"),
    }
    with listening(archive.handlers) as running, raw_peer(running.port) as peer:
        peer.associate()
        for number in range(3):
            peer.send(p_data(pdv(3, store_rq(number), command=True), pdv(3, bytes(10), command=False)))
            peer.command()
        peer.send(RELEASE_RQ)
        assert peer.read() == RELEASE_RP
    (line,) = lines
    assert line["log_level"] == "info" and line["ending"] == "released"
    assert (line["calling_aet"], line["called_aet"]) == ("RAW", "GANTRY")
    assert (line["stored"], line["failed"], line["bytes"]) == (2, 1, 20)
    assert line["duration_ms"] >= 0 and line["peer"].startswith("127.0.0.1:")
    assert total("gantry_dimse_associations_total", ending="released") == before["released"] + 1
    assert total("gantry_dimse_stores_total", status="0000") == before["stored"] + 2
    assert total("gantry_dimse_stores_total", status="A900") == before["refused"] + 1
    assert total("gantry_dimse_received_bytes_total") == before["bytes"] + 20
    assert total("gantry_dimse_open_associations") == 0


def test_what_a_service_binds_to_its_log_lines_is_bound_in_every_association() -> None:
    seen: list[object] = []

    def note(command: Command) -> None:
        seen.append(structlog.contextvars.get_contextvars())

    archive = MemoryArchive(refuse_store=note)

    def serve_and_store() -> None:
        structlog.contextvars.bind_contextvars(service="ingest")
        with listening(archive.handlers) as running, raw_peer(running.port) as peer:
            peer.associate()
            peer.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"ab", command=False)))
            assert peer.command().status == 0

    contextvars.copy_context().run(serve_and_store)
    (bound,) = seen
    assert isinstance(bound, dict)
    assert (bound["service"], bound["calling_aet"]) == ("ingest", "RAW")


def test_a_rejection_is_one_line_too_and_a_probe_is_none(lines: Sequence[MutableMapping[str, Any]]) -> None:
    settings = DicomSettings(maximum_associations=1)
    with (
        listening(MemoryArchive().handlers, settings=settings) as running,
        raw_peer(running.port) as first,
    ):
        first.associate()
        running.connect().close()
        with raw_peer(running.port) as second:
            second.send(associate_rq())
            assert second.read() == LIMIT_EXCEEDED
        first.send(RELEASE_RQ)
        assert first.read() == RELEASE_RP
    info = [line for line in lines if line["log_level"] == "info"]
    assert sorted(line["ending"] for line in info) == ["rejected", "released"]
