"""Upper layer framing, sans-I/O: bytes in, events out; and PDUs that need no more than a struct (PS3.8 9.3).

Nothing is collected but control PDUs, whose length is bounded: the fragments of a PDV are handed on
as they come, as views of the bytes that were fed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from services.common.errors import GantryError
from services.common.ports import Buffer

MAXIMUM_ASSOCIATE_BYTES = 256 * 1024
"""An A-ASSOCIATE-RQ of 128 contexts with 10 transfer syntaxes each has about 90 KB."""

OWN_MAXIMUM_SENT = 131072
"""The longest P-DATA-TF sent to a peer that sets no limit (PS3.8 D.1: maximum length 0)."""

_TOLERANCE = 12
"""Some senders count the headers of PDU and PDV as outside the maximum length, though they are not."""


class PduType(IntEnum):
    """PS3.8 9.3.1."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class ProtocolViolation(GantryError):
    """The peer sent what the upper layer protocol does not allow; the answer is A-ABORT with `reason`."""

    def __init__(self, detail: str, reason: AbortReason) -> None:
        super().__init__(detail)
        self.reason = reason


class Fragment(NamedTuple):
    """Some bytes of one PDV.  `data` is a view of the bytes fed last; it may be empty.

    `is_last` is set on the last bytes of the last PDV of a command set or data set (PS3.8 E.2).
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class Control(NamedTuple):
    """Any whole PDU but P-DATA-TF; `raw` includes its header of 6 bytes."""

    kind: PduType
    raw: bytes


Event = Fragment | Control

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_PDATA_HEADERS = struct.Struct(">BxIIBB")
_HEADER_BYTES = 6

_CONTROL_LENGTHS = {
    PduType.ASSOCIATE_RQ: (68, MAXIMUM_ASSOCIATE_BYTES),
    PduType.ASSOCIATE_AC: (68, MAXIMUM_ASSOCIATE_BYTES),
    PduType.ASSOCIATE_RJ: (4, 4),
    PduType.RELEASE_RQ: (4, 4),
    PduType.RELEASE_RP: (4, 4),
    PduType.ABORT: (4, 4),
}


class Framer:
    """Takes the stream apart: `feed` it, and ask for events until None.

    `maximum_length` is the P-DATA-TF length that was announced to the peer, 0 for any.
    """

    def __init__(self, maximum_length: int) -> None:
        self._limit = maximum_length + _TOLERANCE if maximum_length else 0xFFFFFFFF
        self._data = memoryview(b"")
        self._position = 0
        self._end = 0
        self._header = b""
        self._pdu_left = 0
        self._in_pdv = False
        self._pdv_left = 0
        self._context_id = 0
        self._is_command = False
        self._is_last = False
        self._control: bytearray | None = None
        self._control_left = 0

    @property
    def at_boundary(self) -> bool:
        """Whether nothing of a PDU has come yet."""
        begun = self._header or self._pdu_left or self._in_pdv or self._control is not None
        return not begun and self.is_used_up

    @property
    def is_used_up(self) -> bool:
        """Whether every byte that was fed has been taken."""
        return self._position == self._end

    def feed(self, data: memoryview) -> None:
        """Take the next bytes, which have to stay until `next_event` has returned None, and no longer."""
        self._data, self._position, self._end = data, 0, len(data)

    def next_event(self) -> Event | None:
        """The next event, or None when all that was fed is used up.

        Raises:
            ProtocolViolation: the stream cannot be followed any further.
        """
        while True:
            if self._in_pdv:
                return self._fragment()
            if self._control is not None:
                return self._collect()
            header = self._next_header()
            if header is None:
                return None
            if self._pdu_left:
                self._begin_pdv(header)
            else:
                self._begin_pdu(header)

    def _next_header(self) -> Buffer | None:
        """The next 6 bytes; what there is of them is kept where it is less."""
        start = self._position
        end = start + _HEADER_BYTES - len(self._header)
        if end > self._end:
            self._header += bytes(self._data[start : self._end])
            self._position = self._end
            return None
        self._position = end
        if not self._header:
            return self._data[start:end]
        header, self._header = self._header + bytes(self._data[start:end]), b""
        return header

    def _begin_pdu(self, header: Buffer) -> None:
        kind, length = _PDU_HEADER.unpack(header)
        if kind == PduType.P_DATA_TF:
            if not _HEADER_BYTES <= length <= self._limit:
                raise ProtocolViolation(f"a P-DATA-TF of {length} bytes", AbortReason.INVALID_PARAMETER_VALUE)
            self._pdu_left = length
            return
        bounds = _CONTROL_LENGTHS.get(kind)
        if bounds is None:
            raise ProtocolViolation(f"a PDU of type 0x{kind:02X}", AbortReason.UNRECOGNIZED_PDU)
        if not bounds[0] <= length <= bounds[1]:
            raise ProtocolViolation(
                f"a PDU of type 0x{kind:02X} and {length} bytes", AbortReason.INVALID_PARAMETER_VALUE
            )
        self._control = bytearray(header)
        self._control_left = length

    def _collect(self) -> Control | None:
        assert self._control is not None
        count = min(self._control_left, self._end - self._position)
        self._control += self._data[self._position : self._position + count]
        self._position += count
        self._control_left -= count
        if self._control_left:
            return None
        raw, self._control = bytes(self._control), None
        return Control(PduType(raw[0]), raw)

    def _begin_pdv(self, header: Buffer) -> None:
        if self._pdu_left < _HEADER_BYTES:
            raise ProtocolViolation(
                f"{self._pdu_left} bytes after the last PDV", AbortReason.INVALID_PARAMETER_VALUE
            )
        length, context_id, control = _PDV_HEADER.unpack(header)
        if not 2 <= length <= self._pdu_left - 4:
            raise ProtocolViolation(
                f"a PDV of {length} bytes in the last {self._pdu_left} of its PDU",
                AbortReason.INVALID_PARAMETER_VALUE,
            )
        self._pdu_left -= 4 + length
        self._pdv_left = length - 2
        self._context_id = context_id
        self._is_command = bool(control & 1)
        self._is_last = bool(control & 2)
        self._in_pdv = True

    def _fragment(self) -> Fragment | None:
        start = self._position
        count = min(self._pdv_left, self._end - start)
        if not count and self._pdv_left:
            return None
        self._position = start + count
        self._pdv_left -= count
        self._in_pdv = bool(self._pdv_left)
        return Fragment(
            self._context_id,
            self._is_command,
            self._is_last and not self._in_pdv,
            self._data[start : start + count],
        )


def segments(
    context_id: int, data: memoryview, *, is_command: bool, ends: bool, maximum_length: int
) -> Iterator[bytes | memoryview]:
    """`data` as P-DATA-TF PDUs of one PDV each: headers and views in turn.

    No PDU length exceeds `maximum_length` (0 is no limit), and every PDV but the last is even.  `ends`
    marks the last PDV as the last of its command set or data set.
    """
    piece = ((maximum_length or OWN_MAXIMUM_SENT) - _HEADER_BYTES) & ~1
    total = len(data)
    position = 0
    while position < total or not total:
        count = min(piece, total - position)
        last = ends and position + count == total
        control = (1 if is_command else 0) | (2 if last else 0)
        yield _PDATA_HEADERS.pack(PduType.P_DATA_TF, count + 6, count + 2, context_id, control)
        yield data[position : position + count]
        position += count
        if not total:
            return


def release_request() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return _PDU_HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)


def release_response() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return _PDU_HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


def abort(reason: AbortReason | None = None) -> bytes:
    """A-ABORT (PS3.8 9.3.8): by the provider for `reason`, or by the service user where there is none."""
    source = 0 if reason is None else 2
    return _PDU_HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, source, reason or 0))


def associate_reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _PDU_HEADER.pack(PduType.ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))
