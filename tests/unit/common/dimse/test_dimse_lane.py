"""What goes over a lane: even fragments, whole messages, and no wait without an end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.dimse.lane import AssociationLost, Ending, Lane, even
from services.common.dimse.pdu import Control, Fragment
from services.common.errors import BlobMissing
from tests.waiting import PATIENCE_SECONDS


@given(st.lists(st.binary(max_size=9), max_size=8))
def test_even_keeps_the_bytes_and_makes_chunks_even(chunks: list[bytes]) -> None:
    cut = [bytes(view) for view in even(chunks)]
    assert b"".join(cut) == b"".join(chunks)
    assert all(len(view) % 2 == 0 and view for view in cut[:-1])


@contextmanager
def connected(network_timeout: float) -> Iterator[tuple[Lane, Lane]]:
    """Two lanes over one TCP connection; the first gives up after so long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    lanes = (
        Lane(ours, network_timeout=network_timeout, maximum_length=0),
        Lane(theirs, network_timeout=PATIENCE_SECONDS, maximum_length=0),
    )
    yield lanes
    for lane in lanes:
        lane.close()


@pytest.fixture
def pair() -> Iterator[tuple[Lane, Lane]]:
    """Two patient lanes."""
    with connected(PATIENCE_SECONDS) as lanes:
        yield lanes


@pytest.fixture
def impatient() -> Iterator[Lane]:
    """A lane that gives up soon, whose peer does nothing."""
    with connected(0.2) as (ours, _):
        yield ours


def receive(lane: Lane) -> tuple[bytes, bytes]:
    """One message: command and data set."""
    parts = {True: b"", False: b""}
    while True:
        event = lane.next_event()
        assert isinstance(event, Fragment)
        parts[event.is_command] += bytes(event.data)
        if event.is_last and not event.is_command:
            return parts[True], parts[False]


@pytest.mark.parametrize("maximum", [0, 128, 4096, 16382, 131072])
def test_a_message_arrives_whole(pair: tuple[Lane, Lane], maximum: int) -> None:
    ours, theirs = pair
    ours.peer_max_pdu = maximum
    data = bytes(range(256)) * 4001
    got: list[tuple[bytes, bytes]] = []
    reader = threading.Thread(target=lambda: got.append(receive(theirs)))
    reader.start()
    ours.send_message(3, b"command!", (data[i : i + 99999] for i in range(0, len(data), 99999)), len(data))
    reader.join(PATIENCE_SECONDS)
    assert got == [(b"command!", data)]


def test_a_peer_that_takes_nothing_is_given_up(impatient: Lane) -> None:
    with pytest.raises(AssociationLost) as caught:
        impatient.send_message(1, b"xx", (bytes(65536) for _ in range(1000)), 65536 * 1000)
    assert caught.value.ending is Ending.TIMED_OUT


def test_a_peer_that_says_nothing_is_given_up(impatient: Lane) -> None:
    with pytest.raises(AssociationLost) as caught:
        impatient.next_event()
    assert caught.value.ending is Ending.TIMED_OUT
    with pytest.raises(AssociationLost):
        impatient.send(b"anything")


def test_a_peer_that_closes_has_vanished(pair: tuple[Lane, Lane]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(AssociationLost) as caught:
        ours.next_event()
    assert caught.value.ending is Ending.VANISHED


@pytest.mark.parametrize("length", [10, 4])
def test_a_data_set_of_another_length_aborts(pair: tuple[Lane, Lane], length: int) -> None:
    ours, theirs = pair
    with pytest.raises(AssociationLost):
        ours.send_message(1, b"xx", [b"123456"], length)
    events = [theirs.next_event() for _ in range(3)]
    assert isinstance(events[2], Control) and events[2].raw[0] == 7


def test_a_data_set_that_breaks_off_aborts_and_tells_its_own_error(pair: tuple[Lane, Lane]) -> None:
    ours, theirs = pair

    def chunks() -> Iterator[bytes]:
        yield b"1234"
        raise BlobMissing("gone")

    with pytest.raises(BlobMissing):
        ours.send_message(1, b"xx", chunks(), 8)
    assert ours.lost
    events = [theirs.next_event() for _ in range(3)]
    assert isinstance(events[2], Control) and events[2].raw[0] == 7


def test_polling_never_waits(pair: tuple[Lane, Lane]) -> None:
    ours, theirs = pair
    assert ours.poll_event() is None
    theirs.send_message(1, b"ab")
    assert ours.wait(PATIENCE_SECONDS)
    event = ours.poll_event()
    assert isinstance(event, Fragment) and bytes(event.data) == b"ab" and event.is_last
    assert ours.poll_event() is None
