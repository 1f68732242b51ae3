"""Peers that lie, stall, leave in the middle, or come in thousands: answered or dropped, never a trace."""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import structlog

from services.common.dimse import connection, messages
from services.common.dimse.acceptor import Response
from services.common.dimse.messages import Command
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, Running, listening
from tests.fakes.raw_peer import (
    ABORT_BY_USER,
    ABORT_INVALID_PARAMETER,
    ABORT_UNEXPECTED_PARAMETER,
    ABORT_UNEXPECTED_PDU,
    ABORT_UNRECOGNIZED_PDU,
    LIMIT_EXCEEDED,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    cancel_rq,
    echo_rq,
    find_rq,
    p_data,
    pdv,
    raw_peer,
    store_rq,
)
from tests.waiting import wait_until

SETTINGS = DicomSettings(
    artim_timeout_seconds=600,
    network_timeout_seconds=600,
    idle_timeout_seconds=600,
    maximum_associations=20,
    maximum_pdu_length=16384,
)
"""No time is up before a test's own is: what ends, ends for another reason."""


@contextmanager
def impatient(archive: MemoryArchive | None = None, **timeouts: float) -> Iterator[Running]:
    """A listener for which no time but those given is ever up."""
    archive = archive or MemoryArchive()
    with listening(archive.handlers, settings=SETTINGS.model_copy(update=timeouts)) as running:
        yield running


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def running(archive: MemoryArchive) -> Iterator[Running]:
    with listening(archive.handlers, settings=SETTINGS) as running:
        yield running
        # After all that, an ordinary peer is served.
        with raw_peer(running.port) as peer:
            peer.associate()
            peer.send(echo_rq())
            assert peer.command().status == 0


def ends_with(peer: RawPeer, expected: bytes) -> None:
    """The peer is told so, and the connection closed after it."""
    assert peer.read() == expected
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.is_closed()


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", ABORT_UNRECOGNIZED_PDU, id="HTTP"),
        pytest.param(RELEASE_RQ, ABORT_UNEXPECTED_PDU, id="release first"),
        pytest.param(echo_rq(), ABORT_UNEXPECTED_PDU, id="data first"),
        pytest.param(b"\1\0\xff\xff\xff\xff", ABORT_INVALID_PARAMETER, id="4 GB request"),
        pytest.param(b"\1\0\0\0\0\x44" + bytes(68), b"\3\0\0\0\0\4\0\1\2\2", id="no protocol version"),
        pytest.param(b"\1\0\0\0\0\x44\0\1" + bytes(66), b"\3\0\0\0\0\4\0\1\1\2", id="no application context"),
        pytest.param(
            b"\1\0\0\0\0\x48\0\1" + bytes(66) + b"\x20\0\xff\xff", ABORT_INVALID_PARAMETER, id="lying item"
        ),
    ],
)
def test_a_wrong_beginning(running: Running, first: bytes, answer: bytes) -> None:
    with raw_peer(running.port) as peer:
        peer.send(first)
        ends_with(peer, answer)


STORE = store_rq()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        pytest.param(b"\x63\0\0\0\0\4abcd", ABORT_UNRECOGNIZED_PDU, id="unknown PDU"),
        pytest.param(associate_rq(), ABORT_UNEXPECTED_PDU, id="a second request"),
        pytest.param(RELEASE_RP, ABORT_UNEXPECTED_PDU, id="an answer to no release"),
        pytest.param(b"\4\0\xff\xff\xff\xff", ABORT_INVALID_PARAMETER, id="PDU of 4 GB"),
        pytest.param(b"\4\0\0\0\0\0", ABORT_INVALID_PARAMETER, id="empty PDU"),
        pytest.param(
            b"\4\0\0\0\0\x08" + struct.pack(">IBB", 9, 1, 3) + b"ab",
            ABORT_INVALID_PARAMETER,
            id="PDV too long",
        ),
        pytest.param(
            b"\4\0\0\0\0\x08" + struct.pack(">IBB", 1, 1, 3) + b"ab",
            ABORT_INVALID_PARAMETER,
            id="PDV too short",
        ),
        pytest.param(
            p_data(pdv(3, b"data", command=False)), ABORT_UNEXPECTED_PARAMETER, id="data without command"
        ),
        pytest.param(p_data(pdv(99, STORE, command=True)), ABORT_INVALID_PARAMETER, id="unknown context"),
        pytest.param(p_data(pdv(1, b"garbage!", command=True)), ABORT_INVALID_PARAMETER, id="no command set"),
        pytest.param(
            p_data(pdv(3, STORE, command=True), pdv(1, b"data", command=False)),
            ABORT_UNEXPECTED_PARAMETER,
            id="data on another context",
        ),
        pytest.param(
            p_data(pdv(3, STORE, command=True), pdv(3, b"da", command=False, last=False)) + RELEASE_RQ,
            ABORT_UNEXPECTED_PDU,
            id="release inside a data set",
        ),
        pytest.param(
            p_data(pdv(3, STORE[:20], command=True, last=False), pdv(5, STORE[20:], command=True)),
            ABORT_UNEXPECTED_PARAMETER,
            id="a command on two contexts",
        ),
        pytest.param(
            p_data(pdv(3, bytes(16000), command=True, last=False)) * 5,
            ABORT_INVALID_PARAMETER,
            id="endless command",
        ),
        pytest.param(
            p_data(
                pdv(1, messages.encode(Command(command_field=0x30, message_id=1).respond(0)), command=True)
            ),
            ABORT_UNEXPECTED_PARAMETER,
            id="a response to nothing",
        ),
    ],
)
def test_a_message_that_cannot_be_is_aborted(
    running: Running, archive: MemoryArchive, message: bytes, answer: bytes
) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(message)
        ends_with(peer, answer)
    assert not archive.stored


def test_an_unknown_command_is_unrecognized_and_the_association_goes_on(running: Running) -> None:
    command = Command(command_field=0x0150, message_id=4, has_data_set=True)
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, messages.encode(command), command=True), pdv(1, b"data", command=False)))
        response = peer.command()
        assert (response.command_field, response.status) == (0x8150, 0x0211)
        peer.send(echo_rq(5))
        assert peer.command().message_id_being_responded_to == 5


def test_one_byte_at_a_time(running: Running, archive: MemoryArchive) -> None:
    with raw_peer(running.port) as peer:
        data = b"0123456789" * 10
        stream = (
            associate_rq()
            + p_data(pdv(3, STORE[:30], command=True, last=False), pdv(3, STORE[30:], command=True))
            + p_data(pdv(3, data[:50], command=False, last=False), pdv(3, data[50:], command=False))
            + RELEASE_RQ
        )
        for n in range(len(stream)):
            peer.send(stream[n : n + 1])
        assert peer.read()[0] == 2
        assert peer.command().status == 0
        assert peer.read() == RELEASE_RP
    assert [bytes(item.data) for item in archive.stored] == [data]


def test_command_and_data_in_one_pdu_and_echoes_between(running: Running, archive: MemoryArchive) -> None:
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(
            p_data(
                pdv(3, STORE, command=True),
                pdv(3, b"ab", command=False, last=False),
                pdv(3, b"cd", command=False),
            )
            + echo_rq(2)
            + p_data(pdv(3, store_rq(3), command=True), pdv(3, b"", command=False))
            + RELEASE_RQ
        )
        assert [peer.command().message_id_being_responded_to for _ in range(3)] == [1, 2, 3]
        assert peer.read() == RELEASE_RP
    assert [bytes(item.data) for item in archive.stored] == [b"abcd", b""]


def test_a_store_without_a_data_set_is_not_understood(running: Running) -> None:
    command = messages.decode(STORE)
    bare = Command(
        command_field=1,
        message_id=1,
        affected_sop_class_uid=command.affected_sop_class_uid,
        affected_sop_instance_uid="1.2",
    )
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, messages.encode(bare), command=True)))
        assert peer.command().status == 0xC000


def test_leaving_at_any_byte_leaves_nothing_half_stored(running: Running, archive: MemoryArchive) -> None:
    stream = associate_rq() + p_data(
        pdv(3, STORE, command=True), pdv(3, bytes(100), command=False, last=False)
    )
    whole = p_data(pdv(3, b"the end!", command=False))
    begun = 0
    for cut in [*range(0, len(stream), 23), len(stream), len(stream) + len(whole) - 1]:
        with raw_peer(running.port) as peer:
            peer.send((stream + whole)[:cut])
            if cut % 2:
                # A reset rather than an orderly end.
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            begun += 1
    wait_until(lambda: bool(archive.aborted) and running.slots.taken == 0 and threads() == 0)
    assert begun > 10
    assert archive.stored == []


def test_an_abort_at_any_point_ends_the_association(running: Running, archive: MemoryArchive) -> None:
    for before in (
        b"",
        p_data(pdv(3, STORE[:10], command=True, last=False)),
        p_data(pdv(3, STORE, command=True)),
        p_data(pdv(3, STORE, command=True), pdv(3, b"ab", command=False, last=False)),
    ):
        with raw_peer(running.port) as peer:
            peer.associate()
            peer.send(before + ABORT_BY_USER)
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.is_closed()
    assert archive.stored == []


def test_half_a_request_is_given_up_in_time() -> None:
    """More bytes do not buy more time: the timer is for the whole request."""
    request = associate_rq()
    with impatient(artim_timeout_seconds=1.0) as running, raw_peer(running.port) as peer:
        peer.send(request[:50])
        for place in range(50, len(request) - 1):
            peer.send(request[place : place + 1])
            if select.select([peer.sock], [], [], 0.1)[0]:
                break
        else:
            pytest.fail("each byte bought more time")
        assert peer.read() == ABORT_BY_USER


def test_silence_in_mid_message_is_given_up(archive: MemoryArchive) -> None:
    with impatient(archive, network_timeout_seconds=0.5) as running, raw_peer(running.port) as peer:
        peer.associate()
        started = time.monotonic()
        peer.send(p_data(pdv(3, STORE, command=True), pdv(3, b"ab", command=False, last=False)))
        assert peer.read() == ABORT_BY_USER
        assert time.monotonic() - started > 0.4
    assert len(archive.aborted) == 1


def test_an_idle_association_is_aborted_after_its_time() -> None:
    with impatient(idle_timeout_seconds=0.5) as running, raw_peer(running.port) as peer:
        started = time.monotonic()
        peer.associate()
        assert peer.read() == ABORT_BY_USER
        assert time.monotonic() - started > 0.4


def test_a_peer_that_stays_after_its_rejection_is_dropped() -> None:
    with impatient(artim_timeout_seconds=0.5) as running, raw_peer(running.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert peer.read() == ABORT_UNRECOGNIZED_PDU
        assert peer.is_closed()
        wait_until(lambda: not takes(peer))


def takes(peer: RawPeer) -> bool:
    """Whether the other side still takes bytes."""
    try:
        peer.send(bytes(100))
    except OSError:
        return False
    return True


def test_over_the_limit_is_rejected_at_once_and_a_freed_place_is_taken(running: Running) -> None:
    peers: list[socket.socket] = []
    for _ in range(SETTINGS.maximum_associations):
        sock = running.connect()
        peers.append(sock)
        RawPeer(sock).associate()
    with raw_peer(running.port) as peer:
        peer.send(associate_rq())
        assert peer.read() == LIMIT_EXCEEDED
    peers.pop().close()
    wait_until(lambda: running.slots.taken < SETTINGS.maximum_associations)
    with raw_peer(running.port) as peer:
        peer.associate()
    for sock in peers:
        sock.close()


MANY = 60_000
"""So many answers that they go on for minutes."""


def test_a_cancel_between_responses_is_noticed(running: Running, archive: MemoryArchive) -> None:
    archive.answers = [Response(status=0xFF00, identifier=b"\x08\x00\x52\x00CS\x06\x00STUDY ")] * MANY
    archive.on_answer = lambda index: time.sleep(0.005 if index else 0)
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(find_rq(7))
        assert peer.read()[0] == 4
        peer.send(cancel_rq(99) + cancel_rq(7) + echo_rq(8))
        answers = read_until_final(peer)
        assert answers[-1] == 0xFE00
        assert len(answers) < MANY
        peer.send(cancel_rq(7))  # too late, and harmless
        peer.send(RELEASE_RQ)
        rest = []
        while (raw := peer.read()) != RELEASE_RP:
            rest.append(messages.decode(raw[12:]).command_field)
        assert set(rest) <= {0x8030}


def read_until_final(peer: RawPeer) -> list[int]:
    """The statuses of C-FIND-RSPs until one is not pending; identifiers and echoes are passed over."""
    statuses: list[int] = []
    while not statuses or statuses[-1] == 0xFF00:
        raw = peer.read()
        assert raw and raw[0] == 4, raw
        if raw[11] & 1:
            command = messages.decode(raw[12:])
            if command.command_field == 0x8020 and command.status is not None:
                statuses.append(command.status)
    return statuses


def test_a_peer_that_leaves_during_a_query_ends_it(running: Running, archive: MemoryArchive) -> None:
    given: list[int] = []

    def slow(index: int) -> None:
        given.append(index)
        time.sleep(0.01)

    archive.answers = [Response(status=0xFF00, identifier=b"x" * 10)] * MANY
    archive.on_answer = slow
    with raw_peer(running.port) as peer:
        peer.associate()
        peer.send(find_rq())
        peer.read()
    wait_until(lambda: running.slots.taken == 0)
    assert len(given) < MANY


def test_500_peers_that_vanish_leave_nothing(running: Running) -> None:
    def vanish(count: int) -> None:
        for n in range(count):
            with raw_peer(running.port) as peer:
                if n % 2:
                    peer.associate()
                    peer.send(
                        p_data(pdv(3, STORE, command=True), pdv(3, bytes(500), command=False, last=False))
                    )
                else:
                    peer.send(associate_rq()[: n % 100])
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: running.slots.taken == 0 and threads() == before)

    before = threads()
    vanish(50)
    descriptors, memory = open_descriptors(), resident_bytes()
    vanish(500)
    assert open_descriptors() <= descriptors + 2
    assert resident_bytes() - memory < 8 * 2**20


def test_thousands_of_bare_connects_leave_memory_and_threads_flat(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def knock(count: int) -> None:
        for _ in range(count // 50):
            for sock in [running.connect() for _ in range(50)]:
                sock.close()
        wait_until(lambda: threads() == before)

    # As in a service: a probe is a debug line, which is not kept (here it would be, as captured output).
    quiet = structlog.make_filtering_bound_logger(logging.INFO)
    monkeypatch.setattr(connection, "_log", structlog.wrap_logger(None, wrapper_class=quiet))
    before = threads()
    knock(2000)
    gc.collect()
    memory, descriptors = resident_bytes(), open_descriptors()
    knock(3000)
    gc.collect()
    assert resident_bytes() - memory < 2 * 2**20
    assert open_descriptors() <= descriptors + 2


def test_a_crowd_that_says_nothing_does_not_keep_others_out() -> None:
    with listening(MemoryArchive().handlers, settings=SETTINGS) as running:
        crowd = [running.connect() for _ in range(300)]
        with raw_peer(running.port) as peer:
            peer.associate()
            peer.send(echo_rq())
            assert peer.command().status == 0
        assert threads() < 300
        for sock in crowd:
            sock.close()


def test_a_slow_sender_slows_nobody_else(running: Running, archive: MemoryArchive) -> None:
    stop = threading.Event()
    statuses: list[int | None] = []

    def crawl() -> None:
        with raw_peer(running.port) as peer:
            peer.associate()
            peer.send(p_data(pdv(3, STORE, command=True)))
            while not stop.wait(0.05):
                peer.send(p_data(pdv(3, bytes(50), command=False, last=False)))
            peer.send(p_data(pdv(3, b"the end!", command=False)))
            statuses.append(peer.command().status)

    thread = threading.Thread(target=crawl)
    thread.start()
    try:
        for _ in range(20):
            with raw_peer(running.port) as peer:
                peer.associate()
                peer.send(echo_rq())
                assert peer.command().status == 0
        assert archive.stored == [], "they had to wait for the slow one"
    finally:
        stop.set()
        thread.join()
    assert statuses == [0]


def damaged(random: Random, stream: bytes, spared: int) -> bytes:
    """`stream` with some bytes changed, taken out or put in, after the first `spared`."""
    data = bytearray(stream)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(spared, len(data))
        count = random.randrange(1, 8)
        match random.randrange(4):
            case 0:
                del data[at : at + count]
            case 1:
                data[at:at] = random.randbytes(count)
            case _:
                data[at] = random.choice((0, 1, 2, 3, 4, 5, 7, 255, random.randrange(256)))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_streams_end_in_an_answer_and_nothing_else(running: Running, seed: int) -> None:
    random = Random(seed)
    request = associate_rq()
    data_set = pdv(3, bytes(200), command=False)
    stream = request + p_data(pdv(3, STORE, command=True), data_set) + echo_rq() + find_rq() + RELEASE_RQ
    for number in range(150):
        with raw_peer(running.port) as peer:
            try:
                peer.send(damaged(random, stream, len(request) * (number % 2)))
                peer.sock.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # it has answered and closed before all was sent
            peer.drain()
    wait_until(lambda: threads() == 0 and running.slots.taken == 0)


def threads() -> int:
    return sum(thread.name.startswith("dimse") for thread in threading.enumerate())


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
