"""The A-ASSOCIATE PDUs by pynetdicom: hostile ones read safely, and the items that we send (PS3.8 9.3.2)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydicom.config
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import ApplicationContextItem, UserInformationItem
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext

from services.common.dimse.negotiation import RequestedContext
from services.common.dimse.pdu import AbortReason, ProtocolViolation
from services.common.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# UIDs are taken as peers write them: pydicom would warn of each that is not quite proper, for every
# association anew, and a hostile peer could fill the log.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
FIXED_BYTES = 74
"""What stands before the variable items of an A-ASSOCIATE-RQ or -AC, the PDU header included."""

_ITEM = struct.Struct(">BxH")
_KNOWN_ITEMS = (0x10, 0x20, 0x21, 0x50)
_KNOWN_USER_ITEMS = (0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59)
_USER_INFORMATION = 0x50
_CONTEXTS = (0x20, 0x21)
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_OF_SOP_CLASS = (0x54, 0x56)
_UID = re.compile(rb"[0-9.]{1,64}")


def decode(kind: type, raw: bytes) -> A_ASSOCIATE_RQ | A_ASSOCIATE_AC:
    """An association PDU, its AE titles left out: those are read from `raw` itself.

    Raises:
        ProtocolViolation: it cannot be read.
    """
    decoded = kind()
    # pynetdicom refuses AE titles that real peers send (blanks, other character sets).
    plain = raw[:10] + b"GANTRY".ljust(16) * 2 + raw[42:FIXED_BYTES] + b"".join(_known_items(raw))
    try:
        decoded.decode(plain)
    except Exception as exc:
        # pynetdicom raises whatever a hostile byte hits: KeyError, struct.error, AssertionError, …
        raise invalid(f"an unreadable association PDU ({type(exc).__name__})") from exc
    return decoded


def _known_items(raw: bytes) -> Iterator[bytes]:
    """The variable items that are understood; others shall be ignored (PS3.8 9.3.1)."""
    for kind, item in _items(raw[FIXED_BYTES:]):
        if kind == _USER_INFORMATION:
            yield _item(kind, b"".join(sub for sub_kind, sub in _items(item[4:]) if _is_known(sub_kind, sub)))
        elif kind in _CONTEXTS:
            yield _item(kind, item[4:8] + b"".join(_proper(*sub) for sub in _items(item[8:])))
        elif kind in _KNOWN_ITEMS:
            yield item


def _is_known(kind: int, item: bytes) -> bool:
    """Whether a user information sub-item is understood, and names its SOP class by a UID if it names one."""
    if kind in _OF_SOP_CLASS:
        return _is_uid(item[6 : 6 + int.from_bytes(item[4:6], "big")])
    return kind in _KNOWN_USER_ITEMS


def _proper(kind: int, item: bytes) -> bytes:
    """A sub-item of a presentation context.  What is no UID is left out, for it shall spoil no neighbour:
    the context is then rejected alone, for want of an abstract syntax or of a transfer syntax."""
    if kind not in (_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX) or _is_uid(item[4:]):
        return item
    return _item(kind, b"") if kind == _ABSTRACT_SYNTAX else b""


def _is_uid(raw: bytes) -> bool:
    """Whether it is at least made of what UIDs are made of (PS3.5 9.1); leading zeros are let pass."""
    return _UID.fullmatch(raw.rstrip(b"\0 ")) is not None


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM.size:
            raise invalid("an association PDU ends inside an item's header")
        kind, length = _ITEM.unpack_from(data, position)
        end = position + _ITEM.size + length
        if end > len(data):
            raise invalid("an item is longer than its association PDU")
        yield kind, data[position:end]
        position = end


def presentation_context(context: RequestedContext) -> PresentationContext:
    """The proposed context as pynetdicom has it.

    Raises:
        ProtocolViolation: its ID is even, or a UID is too long.
    """
    built = PresentationContext()
    try:
        built.context_id = context.context_id
        built.abstract_syntax = context.abstract_syntax
        for uid in context.transfer_syntaxes:
            built.add_transfer_syntax(uid)
    except ValueError as exc:
        raise invalid(f"presentation context {context.context_id} holds no proper UID") from exc
    return built


def application_context() -> ApplicationContextItem:
    """The one application context there is (PS3.7 A.2.1)."""
    item = ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


def user_information(more: Sequence[Any], maximum_length: int) -> UserInformationItem:
    """Who we are, how long a P-DATA-TF we take (0 for any), and `more` (PS3.8 D.1, PS3.7 D.3.3.2)."""
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    item = UserInformationItem()
    item.from_primitive([length, implementation, version, *more])
    return item


def operations_window(invoked: int) -> AsynchronousOperationsWindowNegotiation:
    """The requestor may have so many requests outstanding, and we have one (PS3.7 D.3.3.3)."""
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = invoked
    item.maximum_number_operations_performed = 1
    return item


def extended_items(replies: Mapping[str, bytes]) -> Iterator[SOPClassExtendedNegotiation]:
    """SOP class extended negotiation, by SOP class (PS3.7 D.3.3.5)."""
    for uid, information in replies.items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = uid
        item.service_class_application_information = information
        yield item


def role_items(contexts: Sequence[RequestedContext]) -> Iterator[SCP_SCU_RoleSelectionNegotiation]:
    """Role selection, for the SOP classes whose contexts propose a role (PS3.7 D.3.3.4)."""
    roles = {
        context.abstract_syntax: (bool(context.scu_role), bool(context.scp_role))
        for context in contexts
        if context.scu_role is not None or context.scp_role is not None
    }
    for uid, (scu, scp) in roles.items():
        item = SCP_SCU_RoleSelectionNegotiation()
        item.sop_class_uid = uid
        item.scu_role, item.scp_role = scu, scp
        yield item


def invalid(detail: str) -> ProtocolViolation:
    """The peer's association PDU is not as it has to be."""
    return ProtocolViolation(detail, AbortReason.INVALID_PARAMETER_VALUE)
