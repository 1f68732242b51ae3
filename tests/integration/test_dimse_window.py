"""Asynchronous operations (PS3.7 D.3.3.3): several requests outstanding, all answered, and in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC

from services.common.dimse.acceptor import AcceptedContext, Association, Command, StoreSink
from services.common.errors import Unavailable
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.raw_peer import (
    ABORT_BY_USER,
    CONTEXTS,
    RELEASE_RP,
    RELEASE_RQ,
    associate_rq,
    echo_rq,
    p_data,
    pdv,
    raw_peer,
    store_rq,
    with_window,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

STORING = CONTEXTS[:2]


def window_of(answer: bytes) -> tuple[int, int] | None:
    """What the A-ASSOCIATE-AC grants: operations invoked and performed."""
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    item = decoded.user_information.async_ops_window
    return item and (item.maximum_number_operations_invoked, item.maximum_number_operations_performed)


def image(message_id: int) -> bytes:
    command = pdv(3, store_rq(message_id, f"1.2.{message_id}"), command=True)
    return p_data(command, pdv(3, b"ab" * message_id, command=False))


@pytest.mark.parametrize(
    ("request_", "granted"),
    [
        pytest.param(associate_rq(STORING), None, id="none proposed, none answered"),
        pytest.param(with_window(associate_rq(STORING), 1), (1, 1), id="one"),
        pytest.param(with_window(associate_rq(STORING), 5, 5), (5, 1), id="fewer than we offer"),
        pytest.param(with_window(associate_rq(STORING), 100, 0), (8, 1), id="more than we offer"),
        pytest.param(with_window(associate_rq(STORING), 0, 0), (8, 1), id="any number"),
        pytest.param(with_window(associate_rq(CONTEXTS), 0), (1, 1), id="one where it may query"),
    ],
)
def test_what_is_granted(request_: bytes, granted: tuple[int, int] | None) -> None:
    settings = DicomSettings(operations_window=8)
    with (
        listening(MemoryArchive().handlers, settings=settings) as running,
        raw_peer(running.port) as peer,
    ):
        assert window_of(peer.associate(request_)) == granted


@dataclass
class Gate:
    """Sinks that are finished when they are let through, each by its number."""

    through: dict[int, threading.Event] = field(default_factory=dict)
    finishing: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    refused: int = 0

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> StoreSink:
        return GatedSink(self, command.message_id or 0)

    def let_through(self, number: int) -> None:
        self.through[number].set()


class GatedSink:
    def __init__(self, gate: Gate, number: int) -> None:
        self._gate, self._number = gate, number
        gate.through[number] = threading.Event()

    def write(self, data: memoryview) -> None:
        assert len(data) == 2 * self._number

    def finish(self) -> None:
        self._gate.finishing.append(self._number)
        assert self._gate.through[self._number].wait(PATIENCE_SECONDS)
        if self._number == self._gate.refused:
            raise Unavailable("the disk is full")
        self._gate.finished.append(self._number)

    def abort(self) -> None:
        self._gate.finished.append(-self._number)


def served(gate: Gate, window: int = 8) -> object:
    handlers = replace(MemoryArchive().handlers, store=gate)
    return listening(handlers, settings=DicomSettings(operations_window=window))


def test_the_next_object_is_received_while_one_is_made_durable_and_answers_keep_their_order() -> None:
    gate = Gate(refused=2)
    with served(gate) as running, raw_peer(running.port) as peer:  # type: ignore[attr-defined]
        peer.associate(with_window(associate_rq(STORING), 0))
        peer.send(image(1) + image(2) + image(3))
        wait_until(lambda: sorted(gate.finishing) == [1, 2, 3])
        for number in (3, 2):
            gate.let_through(number)
            wait_until(lambda number=number: {number, -number} & set(gate.finished))  # type: ignore[misc]
        gate.let_through(1)
        answers = [peer.command() for _ in range(3)]
        assert [a.message_id_being_responded_to for a in answers] == [1, 2, 3]
        assert [a.status for a in answers] == [0, 0xA700, 0]
        assert gate.finished == [3, -2, 1]
        peer.send(RELEASE_RQ)
        assert peer.read() == RELEASE_RP


def test_an_echo_and_a_release_are_answered_after_the_stores_before_them() -> None:
    gate = Gate()
    with served(gate) as running, raw_peer(running.port) as peer:  # type: ignore[attr-defined]
        peer.associate(with_window(associate_rq(STORING), 4))
        peer.send(image(1) + echo_rq(2) + image(3) + RELEASE_RQ)
        wait_until(lambda: gate.finishing == [1])
        gate.let_through(1)
        wait_until(lambda: gate.finishing == [1, 3])
        gate.let_through(3)
        assert [peer.command().message_id_being_responded_to for _ in range(3)] == [1, 2, 3]
        assert peer.read() == RELEASE_RP


def test_no_more_are_taken_than_the_window_allows() -> None:
    gate = Gate()
    with served(gate, window=2) as running, raw_peer(running.port) as peer:  # type: ignore[attr-defined]
        assert window_of(peer.associate(with_window(associate_rq(STORING), 0))) == (2, 1)
        peer.send(b"".join(image(number) for number in range(1, 6)))
        for number in range(1, 6):
            wait_until(lambda number=number: number in gate.through)  # type: ignore[misc]
            assert max(gate.through) <= number + 1
            gate.let_through(number)
        assert [peer.command().message_id_being_responded_to for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_peer_that_leaves_or_is_drained_loses_nothing_that_has_begun() -> None:
    gate = Gate()
    with served(gate) as running:  # type: ignore[attr-defined]
        with raw_peer(running.port) as peer:
            peer.associate(with_window(associate_rq(STORING), 0))
            peer.send(image(1))
            wait_until(lambda: gate.finishing == [1])
        gate.let_through(1)
        wait_until(lambda: gate.finished == [1] and running.slots.taken == 0)


def test_a_drain_answers_what_is_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.dimse.connection.DRAIN_IDLE_SECONDS", 0.3)
    gate = Gate()
    with served(gate) as running, raw_peer(running.port) as peer:  # type: ignore[attr-defined]
        peer.associate(with_window(associate_rq(STORING), 0))
        peer.send(image(1) + image(2))
        wait_until(lambda: len(gate.finishing) == 2)
        running.acceptor.drain()
        for number in (2, 1):
            gate.let_through(number)
        assert [peer.command().message_id_being_responded_to for _ in range(2)] == [1, 2]
        assert peer.read() == ABORT_BY_USER


def test_a_thousand_in_one_breath() -> None:
    archive = MemoryArchive()
    with listening(archive.handlers) as running, raw_peer(running.port) as peer:
        peer.associate(with_window(associate_rq(STORING), 0))
        sender = threading.Thread(target=lambda: peer.send(b"".join(image(n) for n in range(1, 1001))))
        sender.start()
        assert [peer.command().message_id_being_responded_to for _ in range(1000)] == list(range(1, 1001))
        sender.join(PATIENCE_SECONDS)
    assert len(archive.stored) == 1000
