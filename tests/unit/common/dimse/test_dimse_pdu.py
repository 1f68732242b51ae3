"""Framing: whatever pynetdicom encodes comes out, however the bytes are split; what lies is refused."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem

from services.common.dimse import pdu
from services.common.dimse.pdu import AbortReason, Control, Framer, PduType, ProtocolViolation, segments


@dataclass
class Seen:
    """Events, with the fragments of each PDV joined."""

    pdvs: list[tuple[int, bool, bool, bytes]] = field(default_factory=list)
    controls: list[bytes] = field(default_factory=list)


def feed(framer: Framer, data: bytes, cuts: list[int]) -> Seen:
    """Hand `data` over in pieces that end at `cuts`, each overwritten when it is used up."""
    seen = Seen()
    joined = bytearray()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        piece = bytearray(data[start:end])
        framer.feed(memoryview(piece))
        while (event := framer.next_event()) is not None:
            if isinstance(event, Control):
                seen.controls.append(event.raw)
                continue
            joined += event.data
            if event.is_last:
                seen.pdvs.append((event.context_id, event.is_command, True, bytes(joined)))
                joined.clear()
        assert framer.is_used_up
        piece[:] = b"\xaa" * len(piece)
    return seen


def encode(pdvs: list[tuple[int, bool, bytes]]) -> bytes:
    """One P-DATA-TF by pynetdicom, every PDV the last of its kind."""
    encoded = P_DATA_TF()
    for context_id, is_command, data in pdvs:
        item = PresentationDataValueItem()
        item.presentation_context_id = context_id
        item.presentation_data_value = bytes([is_command | 2]) + data
        encoded.presentation_data_value_items.append(item)
    return bytes(encoded.encode())


a_pdv = st.tuples(st.integers(0, 127).map(lambda n: 2 * n + 1), st.booleans(), st.binary(max_size=300))


@given(st.lists(st.lists(a_pdv, min_size=1, max_size=4), max_size=4), st.data())
def test_everything_comes_out_however_it_is_split(
    pdus: list[list[tuple[int, bool, bytes]]], data: st.DataObject
) -> None:
    stream = b"".join(encode(pdvs) for pdvs in pdus) + bytes(A_RELEASE_RQ().encode())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    seen = feed(Framer(0), stream, cuts)
    assert seen.pdvs == [(c, k, True, d) for pdvs in pdus for c, k, d in pdvs]
    assert seen.controls == [pdu.release_request()]


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_events_or_a_violation(stream: bytes) -> None:
    framer = Framer(4096)
    try:
        feed(framer, stream, [])
    except ProtocolViolation as exc:
        assert exc.reason in AbortReason


@given(st.binary(min_size=1, max_size=2000), st.sampled_from([0, 128, 129, 256, 4096]), st.booleans())
def test_segments_keep_the_maximum_and_pynetdicom_reads_them(
    data: bytes, maximum: int, is_command: bool
) -> None:
    parts = list(segments(5, memoryview(data), is_command=is_command, ends=True, maximum_length=maximum))
    whole = b""
    for position in range(0, len(parts), 2):
        raw = b"".join(bytes(part) for part in parts[position : position + 2])
        assert maximum == 0 or len(raw) - 6 <= maximum
        decoded = P_DATA_TF()
        decoded.decode(raw)
        (item,) = decoded.presentation_data_value_items
        ends = position + 2 == len(parts)
        assert item.presentation_context_id == 5
        assert item.presentation_data_value[0] == (1 if is_command else 0) | (2 if ends else 0)
        assert ends or len(item.presentation_data_value) % 2 == 1
        whole += item.presentation_data_value[1:]
    assert whole == data


def test_an_empty_data_set_is_one_empty_last_pdv() -> None:
    parts = b"".join(
        bytes(p) for p in segments(1, memoryview(b""), is_command=False, ends=True, maximum_length=0)
    )
    assert feed(Framer(0), parts, []).pdvs == [(1, False, True, b"")]


def header(kind: int, length: int) -> bytes:
    return struct.pack(">BxI", kind, length)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        pytest.param(header(0, 4), AbortReason.UNRECOGNIZED_PDU, id="type 0"),
        pytest.param(header(8, 4), AbortReason.UNRECOGNIZED_PDU, id="type 8"),
        pytest.param(b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU, id="HTTP"),
        pytest.param(header(1, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER_VALUE, id="4 GB association"),
        pytest.param(header(1, 67), AbortReason.INVALID_PARAMETER_VALUE, id="short association"),
        pytest.param(header(5, 5), AbortReason.INVALID_PARAMETER_VALUE, id="long release"),
        pytest.param(header(7, 0), AbortReason.INVALID_PARAMETER_VALUE, id="short abort"),
        pytest.param(header(4, 0), AbortReason.INVALID_PARAMETER_VALUE, id="empty P-DATA-TF"),
        pytest.param(header(4, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER_VALUE, id="4 GB P-DATA-TF"),
        pytest.param(
            header(4, 20) + b"\0\0\0\1\1\3", AbortReason.INVALID_PARAMETER_VALUE, id="PDV too short"
        ),
        pytest.param(
            header(4, 20) + b"\0\0\0\x11\1\3", AbortReason.INVALID_PARAMETER_VALUE, id="PDV too long"
        ),
        pytest.param(
            header(4, 20) + b"\xff\xff\xff\xff\1\3", AbortReason.INVALID_PARAMETER_VALUE, id="PDV of 4 GB"
        ),
        pytest.param(
            header(4, 10) + b"\0\0\0\4\1\3ab" + bytes(6),
            AbortReason.INVALID_PARAMETER_VALUE,
            id="2 bytes left",
        ),
    ],
)
def test_a_lie_is_a_violation(stream: bytes, reason: AbortReason) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        feed(Framer(16384), stream, [])
    assert caught.value.reason is reason


def test_a_sender_that_counts_headers_out_is_tolerated() -> None:
    stream = encode([(1, False, bytes(16384))])
    assert len(feed(Framer(16384), stream, []).pdvs) == 1


def test_a_long_association_request_is_collected_beyond_the_buffer() -> None:
    body = bytes(range(256)) * 350
    raw = header(1, len(body)) + body
    assert feed(Framer(0), raw, [3, 7, 1000]).controls == [raw]


def test_nothing_is_allocated_for_a_length_that_has_not_come() -> None:
    stream = header(4, 0xFFFFFFFF) + struct.pack(">IBB", 0xFFFFFFF0, 1, 2) + bytes(50)
    tracemalloc.start()
    try:
        assert feed(Framer(0), stream, [3, 11]).pdvs == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (A_RELEASE_RQ, pdu.release_request()),
        (A_RELEASE_RP, pdu.release_response()),
        (A_ABORT_RQ, pdu.abort(AbortReason.INVALID_PARAMETER_VALUE)),
        (A_ASSOCIATE_RJ, pdu.associate_reject(2, 3, 2)),
    ],
)
def test_small_pdus_are_as_pynetdicom_writes_them(kind: type, raw: bytes) -> None:
    decoded = kind()
    decoded.decode(raw)
    assert bytes(decoded.encode()) == raw


def test_an_abort_by_the_user_has_source_0() -> None:
    assert pdu.abort() == header(7, 4) + bytes(4)


def test_control_pdus_are_named() -> None:
    framer = Framer(0)
    framer.feed(memoryview(pdu.abort()))
    event = framer.next_event()
    assert isinstance(event, Control) and event.kind is PduType.ABORT
