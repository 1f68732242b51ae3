"""Streams that pynetdicom writes, whole and damaged: what comes out never depends on how they are cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_STORE
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ, P_DATA_TF

from services.common.dimse import acse, messages
from services.common.dimse.messages import CommandField, MalformedCommand
from services.common.dimse.pdu import Control, Fragment, Framer, ProtocolViolation
from tests.fakes.dimse_archive import TakesAll
from tests.fakes.raw_peer import CT, STUDY_ROOT_FIND, VERIFICATION, associate_rq

PEER = ("192.0.2.1", 1024)
MAXIMA = st.sampled_from([16, 17, 128, 4096, 16382, 131072])


def _pdus(message: DIMSEMessage, primitive: object, context_id: int, maximum: int) -> bytes:
    """A message as pynetdicom cuts it into PDVs of at most `maximum` bytes, one PDU each."""
    message.primitive_to_message(primitive)
    stream = b""
    for data in message.encode_msg(context_id, maximum):
        pdu = P_DATA_TF()
        pdu.from_primitive(data)
        stream += pdu.encode()
    return stream


@st.composite
def store(draw: st.DrawFn) -> tuple[bytes, tuple[int, int, bytes]]:
    primitive = C_STORE()
    primitive.MessageID = draw(st.integers(0, 65535))
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3"
    primitive.Priority = 0
    data = draw(st.binary(min_size=2, max_size=600).filter(lambda b: len(b) % 2 == 0))
    primitive.DataSet = BytesIO(data)
    raw = _pdus(C_STORE_RQ(), primitive, 3, draw(MAXIMA))
    return raw, (CommandField.C_STORE_RQ, primitive.MessageID, data)


@st.composite
def find(draw: st.DrawFn) -> tuple[bytes, tuple[int, int, bytes]]:
    primitive = C_FIND()
    primitive.MessageID = draw(st.integers(0, 65535))
    primitive.AffectedSOPClassUID, primitive.Priority = STUDY_ROOT_FIND, 2
    data = draw(st.binary(min_size=2, max_size=64).filter(lambda b: len(b) % 2 == 0))
    primitive.Identifier = BytesIO(data)
    raw = _pdus(C_FIND_RQ(), primitive, 5, draw(MAXIMA))
    return raw, (CommandField.C_FIND_RQ, primitive.MessageID, data)


@st.composite
def echo(draw: st.DrawFn) -> tuple[bytes, tuple[int, int, bytes]]:
    primitive = C_ECHO()
    primitive.MessageID = draw(st.integers(0, 65535))
    primitive.AffectedSOPClassUID = VERIFICATION
    return _pdus(C_ECHO_RQ(), primitive, 1, draw(MAXIMA)), (CommandField.C_ECHO_RQ, primitive.MessageID, b"")


@st.composite
def cancel(draw: st.DrawFn) -> tuple[bytes, tuple[int, int, bytes]]:
    primitive = C_CANCEL()
    primitive.MessageIDBeingRespondedTo = draw(st.integers(0, 65535))
    raw = _pdus(C_CANCEL_RQ(), primitive, 5, draw(MAXIMA))
    return raw, (CommandField.C_CANCEL_RQ, primitive.MessageIDBeingRespondedTo, b"")


CONTROLS = (bytes(A_RELEASE_RQ().encode()), b"\x07\0\0\0\0\x04\0\0\0\0", associate_rq())
a_message = st.one_of(store(), find(), echo(), cancel())
a_stream = st.lists(st.one_of(a_message.map(lambda m: m[0]), st.sampled_from(CONTROLS)), max_size=5).map(
    b"".join
)


def events_of(stream: bytes, cuts: Sequence[int], maximum: int = 0) -> list[object]:
    """What a framer makes of `stream`, cut there; PDVs joined, for how they are cut is no matter."""
    framer = Framer(maximum)
    seen: list[object] = []
    part: tuple[int, bool] | None = None
    data = b""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            framer.feed(memoryview(stream)[start:end])
            while (event := framer.next_event()) is not None:
                if isinstance(event, Control):
                    seen.append(event)
                    continue
                assert isinstance(event, Fragment)
                if part != (event.context_id, event.is_command):
                    seen.append((part, data, "interrupted"))
                    part, data = (event.context_id, event.is_command), b""
                data += event.data
                if event.is_last:
                    seen.append((part, data))
                    part, data = None, b""
            assert framer.is_used_up
    except ProtocolViolation as violation:
        seen.append(violation.reason)
    return [*seen, (part, data)]


def cuts_of(draw: st.DrawFn, stream: bytes) -> list[int]:
    return sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))


@st.composite
def damaged(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream with some bytes changed, taken out or put in."""
    stream = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(stream)))
        removed = draw(st.integers(0, 9))
        stream[at : at + removed] = draw(st.binary(max_size=9))
    return bytes(stream)


@given(st.lists(a_message, max_size=4), st.data())
def test_messages_of_pynetdicom_are_read_however_they_are_cut(
    sent: list[tuple[bytes, tuple[int, int, bytes]]], data: st.DataObject
) -> None:
    stream = b"".join(raw for raw, _ in sent)
    seen = [event for event in events_of(stream, cuts_of(data.draw, stream)) if len(event) == 2]  # type: ignore[arg-type]
    got: list[tuple[int, int, bytes]] = []
    for part, raw in seen:  # type: ignore[misc]
        if part is None:
            continue
        if not part[1]:
            got[-1] = (*got[-1][:2], raw)
            continue
        command = messages.decode(raw)
        message_id = command.message_id
        got.append(
            (
                command.command_field,
                command.message_id_being_responded_to if message_id is None else message_id,  # type: ignore[arg-type]
                b"",
            )
        )
    assert got == [expected for _, expected in sent]


@given(st.one_of(a_stream, damaged(a_stream)), st.sampled_from([0, 128, 16384]), st.data())
@settings(max_examples=300)
def test_every_cutting_of_every_stream_gives_the_same_events(
    stream: bytes, maximum: int, data: st.DataObject
) -> None:
    assert events_of(stream, cuts_of(data.draw, stream), maximum) == events_of(stream, [], maximum)


@given(st.binary(max_size=300), st.data())
def test_and_so_it_is_with_arbitrary_bytes(stream: bytes, data: st.DataObject) -> None:
    stream = (
        data.draw(st.sampled_from([b"", b"\4\0\0\0\0\x20", b"\4\0\xff\xff\xff\xff", b"\1\0\0\0\1\0"]))
        + stream
    )
    assert events_of(stream, cuts_of(data.draw, stream)) == events_of(stream, [])


@given(damaged(st.lists(a_message.map(lambda m: m[0]), min_size=1, max_size=3).map(b"".join)))
def test_no_damage_costs_more_memory_than_was_sent(stream: bytes) -> None:
    tracemalloc.start()
    try:
        events_of(stream, [])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(stream) + 200_000


@given(damaged(a_message.map(lambda m: m[0][12:])))
def test_a_damaged_command_set_is_read_or_malformed(raw: bytes) -> None:
    try:
        messages.encode(messages.decode(raw))
    except MalformedCommand:
        return


@given(damaged(st.just(associate_rq())))
@settings(max_examples=300)
def test_a_damaged_association_request_is_negotiated_or_a_violation(raw: bytes) -> None:
    if len(raw) < 74:
        return
    try:
        request = acse.decode_request(raw, PEER)
        info, answer = acse.negotiate(request, TakesAll(), 16384, 16)
    except ProtocolViolation:
        return
    assert answer[0] == 2 and int.from_bytes(answer[2:6], "big") == len(answer) - 6
    assert 1 <= info.operations_window <= 16


def test_an_abort_of_pynetdicom_is_one_control() -> None:
    abort = A_ABORT_RQ()
    abort.source, abort.reason_diagnostic = 2, 1
    raw = bytes(abort.encode())
    (event, _) = events_of(raw, [4, 7])
    assert isinstance(event, Control) and event.raw == raw
