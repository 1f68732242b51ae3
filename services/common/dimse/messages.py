"""DIMSE command sets: Implicit VR Little Endian, group 0000 alone (PS3.7 6.3 and Annex E).

A codec of our own, by one table, for it stands in the path of every C-STORE.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum

from services.common.errors import GantryError

MAXIMUM_COMMAND_BYTES = 65536
"""No command set comes near this: the largest, an N-GET's attribute list, holds 4 bytes per tag."""

NO_DATA_SET = 0x0101
_DATA_SET = 0x0001
_COMMENT_CHARACTERS = 64


class MalformedCommand(GantryError):
    """A command set that cannot be read."""


class CommandField(IntEnum):
    """The kind of a message (PS3.7 E.1, Table E.1-1); a response has the high bit set."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF
    C_STORE_RSP = 0x8001
    C_GET_RSP = 0x8010
    C_FIND_RSP = 0x8020
    C_MOVE_RSP = 0x8021
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RSP = 0x8100
    N_ACTION_RSP = 0x8130


_RESPONSE = 0x8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set.  UIDs and AE titles come without padding and are otherwise as the peer wrote them.

    A request has a `message_id`, a response `message_id_being_responded_to` and a `status`; absent
    elements are None.
    """

    command_field: int
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    has_data_set: bool = False
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    priority: int | None = None
    move_destination: str | None = None
    move_originator_aet: str | None = None
    move_originator_message_id: int | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    status: int | None = None
    error_comment: str | None = None
    error_id: int | None = None
    offending_elements: tuple[int, ...] | None = None
    attribute_identifiers: tuple[int, ...] | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.command_field & _RESPONSE)

    @property
    def sop_class_uid(self) -> str:
        """The SOP class that it is about, affected or requested; empty where it names none."""
        return self.affected_sop_class_uid or self.requested_sop_class_uid or ""

    @property
    def sop_instance_uid(self) -> str:
        """The SOP instance that it is about, affected or requested; empty where it names none."""
        return self.affected_sop_instance_uid or self.requested_sop_instance_uid or ""

    def respond(
        self,
        status: int,
        *,
        has_data_set: bool = False,
        comment: str = "",
        offending_elements: tuple[int, ...] = (),
        remaining: int | None = None,
        completed: int | None = None,
        failed: int | None = None,
        warning: int | None = None,
    ) -> Command:
        """The response to this request; it names the same SOP class, instance and action."""
        return Command(
            command_field=self.command_field | _RESPONSE,
            message_id_being_responded_to=self.message_id,
            affected_sop_class_uid=self.sop_class_uid or None,
            affected_sop_instance_uid=self.sop_instance_uid or None,
            event_type_id=self.event_type_id,
            action_type_id=self.action_type_id,
            has_data_set=has_data_set,
            status=status,
            error_comment=comment or None,
            offending_elements=offending_elements or None,
            remaining=remaining,
            completed=completed,
            failed=failed,
            warning=warning,
        )


_ELEMENT = struct.Struct("<HHI")
_LENGTH = struct.Struct("<HHII")
_STORED = struct.Struct("<" + "HHIH" * 4)
_US = struct.Struct("<H")
_AT = struct.Struct("<HH")


def _decode_us(value: bytes) -> int | None:
    if not value:
        return None
    if len(value) != 2:
        raise MalformedCommand(f"a US of {len(value)} bytes in a command set")
    return int.from_bytes(value, "little")


def _decode_text(value: bytes) -> str | None:
    return value.decode("latin-1").strip(" \0") or None


def _decode_at(value: bytes) -> tuple[int, ...]:
    if len(value) % 4:
        raise MalformedCommand(f"an AT of {len(value)} bytes in a command set")
    return tuple(group << 16 | element for group, element in _AT.iter_unpack(value))


def _encode_us(value: int) -> bytes:
    return _US.pack(min(value, 0xFFFF))


def _encode_uid(value: str) -> bytes:
    raw = value.encode("latin-1")
    return raw + b"\0" if len(raw) % 2 else raw


def _encode_text(value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    return raw + b" " if len(raw) % 2 else raw


def _encode_comment(value: str) -> bytes:
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in value)
    return _encode_text(plain[:_COMMENT_CHARACTERS])


def _encode_at(value: tuple[int, ...]) -> bytes:
    return b"".join(_AT.pack(tag >> 16, tag & 0xFFFF) for tag in value)


_Codec = tuple[Callable[[bytes], object], Callable[..., bytes]]
_USHORT: _Codec = (_decode_us, _encode_us)
_UID: _Codec = (_decode_text, _encode_uid)
_AET: _Codec = (_decode_text, _encode_text)
_COMMENT: _Codec = (_decode_text, _encode_comment)
_TAGS: _Codec = (_decode_at, _encode_at)

_TABLE: dict[int, tuple[str, _Codec]] = {
    0x0002: ("affected_sop_class_uid", _UID),
    0x0003: ("requested_sop_class_uid", _UID),
    0x0100: ("command_field", _USHORT),
    0x0110: ("message_id", _USHORT),
    0x0120: ("message_id_being_responded_to", _USHORT),
    0x0600: ("move_destination", _AET),
    0x0700: ("priority", _USHORT),
    0x0800: ("has_data_set", _USHORT),
    0x0900: ("status", _USHORT),
    0x0901: ("offending_elements", _TAGS),
    0x0902: ("error_comment", _COMMENT),
    0x0903: ("error_id", _USHORT),
    0x1000: ("affected_sop_instance_uid", _UID),
    0x1001: ("requested_sop_instance_uid", _UID),
    0x1002: ("event_type_id", _USHORT),
    0x1005: ("attribute_identifiers", _TAGS),
    0x1008: ("action_type_id", _USHORT),
    0x1020: ("remaining", _USHORT),
    0x1021: ("completed", _USHORT),
    0x1022: ("failed", _USHORT),
    0x1023: ("warning", _USHORT),
    0x1030: ("move_originator_aet", _AET),
    0x1031: ("move_originator_message_id", _USHORT),
}
"""Element number in group 0000 → field and codec (PS3.7 E.1); in order, as they are encoded."""

if {name for name, _ in _TABLE.values()} != {field.name for field in fields(Command)}:
    raise AssertionError("the table of command elements and the Command dataclass differ")


def encode(command: Command) -> bytes:
    """The command set, group length first."""
    parts = []
    for element, (name, (_, encode_value)) in _TABLE.items():
        value = getattr(command, name)
        if element == 0x0800:
            value = _DATA_SET if value else NO_DATA_SET
        if value is None:
            continue
        raw = encode_value(value)
        parts.append(_ELEMENT.pack(0, element, len(raw)))
        parts.append(raw)
    body = b"".join(parts)
    return _LENGTH.pack(0, 0, 4, len(body)) + body


def encode_stored(request: Command) -> bytes:
    """As ``encode(request.respond(0x0000))`` of a C-STORE-RQ, but sooner: every image waits for it."""
    sop_class, instance = _encode_uid(request.sop_class_uid), _encode_uid(request.sop_instance_uid)
    body = b"".join(
        (
            *((_ELEMENT.pack(0, 0x0002, len(sop_class)), sop_class) if sop_class else ()),
            _STORED.pack(
                *(0, 0x0100, 2, CommandField.C_STORE_RSP),
                *(0, 0x0120, 2, request.message_id),
                *(0, 0x0800, 2, NO_DATA_SET),
                *(0, 0x0900, 2, 0x0000),
            ),
            *((_ELEMENT.pack(0, 0x1000, len(instance)), instance) if instance else ()),
        )
    )
    return _LENGTH.pack(0, 0, 4, len(body)) + body


def decode(data: bytes) -> Command:
    """Read a command set; elements that are not in the table are passed over.

    Raises:
        MalformedCommand: a length lies, an element is of another group, or Command Field, the message
            ID or the Command Data Set Type is missing.
    """
    values: dict[str, object] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < _ELEMENT.size:
            raise MalformedCommand("a command set ends inside an element's header")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0:
            raise MalformedCommand(f"group {group:04X} in a command set")
        if length > end - position:
            raise MalformedCommand(f"element (0000,{element:04X}) is longer than its command set")
        row = _TABLE.get(element)
        if row is not None:
            name, (decode_value, _) = row
            values[name] = decode_value(data[position : position + length])
        position += length
    field = values.get("command_field")
    if not isinstance(field, int):
        raise MalformedCommand("a command set without Command Field (0000,0100)")
    answers = field & _RESPONSE or field == CommandField.C_CANCEL_RQ
    if values.get("message_id_being_responded_to" if answers else "message_id") is None:
        raise MalformedCommand("a command set without a message ID")
    kind = values.get("has_data_set")
    if kind is None:
        raise MalformedCommand("a command set without Command Data Set Type (0000,0800)")
    values["has_data_set"] = kind != NO_DATA_SET
    return Command(**values)  # type: ignore[arg-type]
