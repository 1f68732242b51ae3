"""C-GET on one association: sub-operations, and what a peer may send between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.common.dimse import messages
from services.common.dimse.acceptor import (
    AcceptedContext,
    Association,
    Command,
    IsCancelled,
    RequestedContext,
    Response,
)
from services.common.dimse.messages import CommandField
from services.common.errors import BlobMissing, GantryError, InvalidQuery, Unavailable, UnknownNode
from tests.fakes.dimse_archive import MemoryArchive, Running, Stored, listening
from tests.fakes.raw_peer import (
    ABORT_BY_USER,
    ABORT_UNEXPECTED_PARAMETER,
    CONTEXTS,
    CT,
    EXPLICIT,
    STUDY_ROOT_GET,
    RawPeer,
    associate_rq,
    cancel_rq,
    echo_rq,
    p_data,
    pdv,
    raw_peer,
)


def a_ct(number: int) -> Stored:
    return Stored(
        command=Command(
            command_field=1,
            message_id=1,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=f"1.2.{number}",
        ),
        context=AcceptedContext(context_id=3, abstract_syntax=CT, transfer_syntax=EXPLICIT),
        data=bytearray(b"data" * 10),
    )


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive(stored=[a_ct(n) for n in range(5)])


@pytest.fixture
def running(archive: MemoryArchive) -> Iterator[Running]:
    with listening(archive.handlers) as running:
        yield running


def retrieve_rq(field: CommandField, message_id: int = 9, *, identifier: bytes = b"identifier") -> bytes:
    """A C-GET-RQ or C-MOVE-RQ on context 7."""
    command = Command(
        command_field=field,
        message_id=message_id,
        affected_sop_class_uid=STUDY_ROOT_GET,
        priority=0,
        move_destination="THERE" if field is CommandField.C_MOVE_RQ else None,
        has_data_set=True,
    )
    return p_data(pdv(7, messages.encode(command), command=True), pdv(7, identifier, command=False))


GET = retrieve_rq(CommandField.C_GET_RQ)


def take(peer: RawPeer) -> Command:
    """Read one C-STORE-RQ whole."""
    request = peer.command()
    assert request.command_field == CommandField.C_STORE_RQ
    while peer.read()[11] != 2:
        pass
    return request


def stored(request: Command, status: int = 0) -> bytes:
    return p_data(pdv(3, messages.encode(request.respond(status)), command=True))


def test_counts_and_statuses_of_sub_operations(running: Running) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        for number, status in enumerate((0x0000, 0xA700, 0x0000, 0xC000, 0x0000)):
            request = take(peer)
            assert request.sop_instance_uid == f"1.2.{number}"
            peer.send(stored(request, status))
            pending = peer.command()
            assert pending.status == 0xFF00
            assert (pending.remaining or 0) + (pending.completed or 0) + (pending.failed or 0) == 5
        final = peer.command()
        assert (final.status, final.completed, final.failed, final.remaining) == (0xB000, 3, 2, None)


def test_a_cancel_stops_within_one_sub_operation(running: Running) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        peer.send(stored(take(peer)))
        assert peer.command().status == 0xFF00
        request = take(peer)
        peer.send(cancel_rq(9, context_id=7))
        peer.send(stored(request))
        final = peer.command()
        assert (final.status, final.completed, final.remaining) == (0xFE00, 2, 3)
        peer.send(echo_rq())
        assert peer.command().command_field == CommandField.C_ECHO_RSP


def test_an_echo_between_sub_operations_is_answered(running: Running) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        request = take(peer)
        peer.send(echo_rq(77) + stored(request))
        assert peer.command().message_id_being_responded_to == 77
        assert peer.command().status == 0xFF00


def test_an_answer_to_another_message_is_aborted(running: Running) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        request = take(peer)
        peer.send(stored(replace(request, message_id=4711)))
        assert peer.read() == ABORT_UNEXPECTED_PARAMETER


def test_an_abort_in_a_sub_operation_ends_it(running: Running, archive: MemoryArchive) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        take(peer)
        peer.send(ABORT_BY_USER)
        assert peer.is_closed()
    assert archive.outcomes == []


def test_an_explicit_refusal_to_receive_is_respected(running: Running) -> None:
    contexts = [
        replace(context, scu_role=True, scp_role=False) if context.abstract_syntax == CT else context
        for context in CONTEXTS
    ]
    assert isinstance(contexts[1], RequestedContext)
    with raw_peer(running.port) as peer:
        peer.associate(associate_rq(contexts))
        peer.send(GET)
        answers = [peer.command() for _ in range(6)]
        assert {answer.command_field for answer in answers} == {CommandField.C_GET_RSP}
        assert (answers[-1].completed, answers[-1].failed) == (0, 5)


class Scripted:
    """A retrieval that raises after some pending responses, or breaks off in mid-object."""

    def __init__(self, error: Exception, pending: int = 0) -> None:
        self.error = error
        self.pending = pending

    def _run(self) -> Iterator[Response]:
        for number in range(self.pending):
            yield Response(status=0xFF00, remaining=9 - number, completed=number + 1, failed=0, warning=0)
        raise self.error

    def move(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        c: IsCancelled,
    ) -> Iterator[Response]:
        return self._run()

    def get(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        c: IsCancelled,
    ) -> Iterator[Response]:
        target = next(c for c in association.info.contexts.values() if c.abstract_syntax == CT)

        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise self.error

        association.store(context=target, sop_class_uid=CT, sop_instance_uid="1.2", chunks=chunks(), length=8)
        yield Response(status=0)


@pytest.mark.parametrize(
    ("error", "pending", "status"),
    [
        (UnknownNode("no node THERE"), 0, 0xA801),
        (InvalidQuery("no level", tag=0x00080052), 0, 0xA900),
        (Unavailable("no catalog"), 0, 0xA701),
        (Unavailable("no store"), 2, 0xA702),
        (GantryError("odd"), 0, 0x0110),
        (ValueError("PatientName^Secret"), 1, 0x0110),
    ],
)
def test_an_error_of_the_handler_is_its_status(error: Exception, pending: int, status: int) -> None:
    handlers = replace(MemoryArchive().handlers, retrieve=Scripted(error, pending))
    with listening(handlers) as running, raw_peer(running.port) as peer:
        peer.associate()
        peer.send(retrieve_rq(CommandField.C_MOVE_RQ))
        answers = [peer.command() for _ in range(pending + 1)]
        assert [answer.status for answer in answers] == [0xFF00] * pending + [status]
        assert "Secret" not in (answers[-1].error_comment or "")
        peer.send(echo_rq())
        assert peer.command().status == 0


def test_an_object_that_breaks_off_aborts_rather_than_ends() -> None:
    handlers = replace(MemoryArchive().handlers, retrieve=Scripted(BlobMissing("gone")))
    with listening(handlers) as running, raw_peer(running.port) as peer:
        peer.associate()
        peer.send(GET)
        assert peer.command().command_field == CommandField.C_STORE_RQ
        assert peer.read()[11] == 0
        assert peer.read() == ABORT_BY_USER


def test_a_request_without_identifier_is_an_invalid_query(running: Running) -> None:
    command = Command(
        command_field=CommandField.C_GET_RQ, message_id=1, affected_sop_class_uid=STUDY_ROOT_GET
    )
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(7, messages.encode(command), command=True)))
        assert peer.command().status == 0xA900


def test_a_service_that_is_not_there_is_unrecognized(archive: MemoryArchive) -> None:
    with listening(replace(archive.handlers, retrieve=None)) as running, raw_peer(running.port) as peer:
        peer.associate()
        for field in (CommandField.C_GET_RQ, CommandField.C_MOVE_RQ, CommandField.N_ACTION_RQ):
            peer.send(retrieve_rq(field))
            assert peer.command().status == 0x0211
