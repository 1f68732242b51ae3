"""Association requests and answers on the wire, by pynetdicom's PDU classes (PS3.8 9.3, PS3.7 D.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    ApplicationContextItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    UserInformationItem,
)
from pynetdicom.pdu_primitives import (
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from services.common.dimse import pdu
from services.common.dimse.negotiation import (
    Acceptance,
    AcceptedContext,
    AssociationInfo,
    ContextPolicy,
    RequestedContext,
    UserIdentity,
)
from services.common.dimse.pdu import AbortReason, ProtocolViolation

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.286530862370131286413420171632957446227"
IMPLEMENTATION_VERSION_NAME = "GANTRY_0.1"
MAXIMUM_CONTEXTS = 128
_SMALLEST_PEER_PDU = 128
"""A peer that takes less than this in a PDU could not take a command set in any sensible count of them."""

_FIXED_BYTES = 74
_ITEM = struct.Struct(">BxH")
_KNOWN_ITEMS = (0x10, 0x20, 0x21, 0x50)
_KNOWN_USER_ITEMS = (0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59)
_USER_INFORMATION = 0x50


class Rejection(Enum):
    """A-ASSOCIATE-RJ: result, source and reason (PS3.8 Table 9-21)."""

    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AET = (1, 1, 3)
    CALLED_AET = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT = (2, 3, 2)

    def encode(self) -> bytes:
        """The PDU."""
        return pdu.associate_reject(*self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """A decoded A-ASSOCIATE-RQ; `fixed` are its bytes 10 to 73, which the answer repeats."""

    info: AssociationInfo
    protocol_version: int
    application_context: str
    fixed: bytes


def decode_request(raw: bytes, peer_address: tuple[str, int]) -> AssociationRequest:
    """Read an A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it cannot be read.
    """
    decoded = _decode(A_ASSOCIATE_RQ, raw)
    user = decoded.user_information
    roles = {} if user is None else {str(uid): item for uid, item in user.role_selection.items()}
    extended = {} if user is None else {str(i.uid): bytes(i.app_info or b"") for i in user.ext_neg}
    requested = tuple(_requested(item, roles, extended) for item in decoded.presentation_context)
    if len({context.context_id for context in requested}) != len(requested):
        raise _invalid("two presentation contexts of one ID")
    maximum = (user.maximum_length or 0) if user is not None else 0
    if 0 < maximum < _SMALLEST_PEER_PDU:
        raise _invalid(f"a maximum length of {maximum}")
    info = AssociationInfo(
        calling_aet=_aet(raw[26:42]),
        called_aet=_aet(raw[10:26]),
        peer_address=peer_address,
        peer_max_pdu=maximum,
        peer_implementation_uid=str((user and user.implementation_class_uid) or ""),
        peer_implementation_version=str((user and user.implementation_version_name) or ""),
        requested=requested,
        user_identity=_identity(user.user_identity) if user is not None and user.user_identity else None,
    )
    return AssociationRequest(
        info=info,
        protocol_version=decoded.protocol_version,
        application_context=str(decoded.application_context_name or ""),
        fixed=raw[10:_FIXED_BYTES],
    )


def negotiate(
    request: AssociationRequest, policy: ContextPolicy, maximum_length: int
) -> tuple[AssociationInfo, bytes]:
    """Answer every requested context as `policy` says: the negotiated association and the A-ASSOCIATE-AC.

    `maximum_length` is the longest P-DATA-TF that we take, 0 for any.
    """
    info = request.info
    answers = policy.accept(info.requested, info)
    items: list[PresentationContext] = []
    roles: dict[str, Any] = {}
    extended: dict[str, bytes] = {}
    accepted: dict[int, AcceptedContext] = {}
    for context, answer in zip(info.requested, answers, strict=True):
        result, role_replies = _negotiate_one(context, answer)
        items.append(result)
        if result.result != 0:
            continue
        roles.update((str(reply.sop_class_uid), reply) for reply in role_replies)
        if answer is not None and answer.extended is not None:
            extended[context.abstract_syntax] = answer.extended
        accepted[context.context_id] = AcceptedContext(
            context_id=context.context_id,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=str(result.transfer_syntax[0]),
            peer_receives=context.scp_role is not False,
        )
    raw = _encode_answer(items, [*roles.values(), *_extended_items(extended)], maximum_length)
    # PS3.8 9.3.3: the reserved bytes, AE titles among them, come back as they were received.
    return replace(info, contexts=accepted), raw[:10] + request.fixed + raw[_FIXED_BYTES:]


def encode_request(
    *, called_aet: str, calling_aet: str, contexts: Sequence[RequestedContext], maximum_length: int
) -> bytes:
    """An A-ASSOCIATE-RQ that proposes `contexts`."""
    encoded = A_ASSOCIATE_RQ()
    encoded.called_ae_title = called_aet
    encoded.calling_ae_title = calling_aet
    encoded.variable_items.append(_application_context())
    for context in contexts:
        item = PresentationContextItemRQ()
        item.from_primitive(_presentation_context(context))
        encoded.variable_items.append(item)
    encoded.variable_items.append(_user_information(list(_role_items(contexts)), maximum_length))
    return bytes(encoded.encode())


def rejection_text(raw: bytes) -> str:
    """What an A-ASSOCIATE-RJ says, in words."""
    decoded = A_ASSOCIATE_RJ()
    decoded.decode(raw)
    try:
        return f"{decoded.result_str}, {decoded.source_str}, {decoded.reason_str}"
    except ValueError:
        return f"result {raw[7]}, source {raw[8]}, reason {raw[9]}"


def decode_answer(
    raw: bytes, requested: Mapping[int, RequestedContext], info: AssociationInfo
) -> AssociationInfo:
    """Read the A-ASSOCIATE-AC to a request of ours: `info` with what the acceptor said of itself and took.

    Raises:
        ProtocolViolation: it cannot be read, or accepts what was not proposed.
    """
    decoded = _decode(A_ASSOCIATE_AC, raw)
    user = decoded.user_information
    accepted: dict[int, AcceptedContext] = {}
    for item in decoded.presentation_context:
        if item.result != 0:
            continue
        proposal = requested.get(item.context_id)
        syntax = str(item.transfer_syntax or "")
        if proposal is None or syntax not in proposal.transfer_syntaxes:
            raise _invalid(f"context {item.context_id} was accepted but not so proposed")
        accepted[item.context_id] = AcceptedContext(
            context_id=item.context_id, abstract_syntax=proposal.abstract_syntax, transfer_syntax=syntax
        )
    maximum = (user.maximum_length or 0) if user is not None else 0
    if 0 < maximum < _SMALLEST_PEER_PDU:
        raise _invalid(f"a maximum length of {maximum}")
    return replace(
        info,
        peer_max_pdu=maximum,
        peer_implementation_uid=str((user and user.implementation_class_uid) or ""),
        peer_implementation_version=str((user and user.implementation_version_name) or ""),
        contexts=accepted,
    )


def _decode(kind: type, raw: bytes) -> A_ASSOCIATE_RQ | A_ASSOCIATE_AC:
    decoded = kind()
    # AE titles are read apart: pynetdicom refuses what real peers send (blanks, other character sets).
    plain = raw[:10] + b"GANTRY".ljust(16) * 2 + raw[42:_FIXED_BYTES] + b"".join(_known_items(raw))
    try:
        decoded.decode(plain)
    except Exception as exc:
        # pynetdicom raises whatever a hostile byte hits: KeyError, struct.error, AssertionError, …
        raise _invalid(f"an unreadable association PDU ({type(exc).__name__})") from exc
    return decoded


def _known_items(raw: bytes) -> Iterator[bytes]:
    """The variable items that are understood; others shall be ignored (PS3.8 9.3.1)."""
    for kind, item in _items(raw[_FIXED_BYTES:]):
        if kind == _USER_INFORMATION:
            known = b"".join(sub for sub_kind, sub in _items(item[4:]) if sub_kind in _KNOWN_USER_ITEMS)
            yield _ITEM.pack(kind, len(known)) + known
        elif kind in _KNOWN_ITEMS:
            yield item


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM.size:
            raise _invalid("an association PDU ends inside an item's header")
        kind, length = _ITEM.unpack_from(data, position)
        end = position + _ITEM.size + length
        if end > len(data):
            raise _invalid("an item is longer than its association PDU")
        yield kind, data[position:end]
        position = end


def _requested(item: Any, roles: Mapping[str, Any], extended: Mapping[str, bytes]) -> RequestedContext:
    context_id = item.presentation_context_id
    if context_id % 2 == 0:
        raise _invalid(f"a presentation context of ID {context_id}")
    uid = str(item.abstract_syntax or "")
    role = roles.get(uid)
    return RequestedContext(
        context_id=context_id,
        abstract_syntax=uid,
        transfer_syntaxes=tuple(dict.fromkeys(str(s) for s in item.transfer_syntax if s)),
        scu_role=None if role is None else bool(role.scu_role),
        scp_role=None if role is None else bool(role.scp_role),
        extended=extended.get(uid),
    )


def _identity(item: Any) -> UserIdentity | None:
    kind = getattr(item, "user_identity_type", None)
    if kind is None:
        return None
    return UserIdentity(
        kind=int(kind),
        primary=bytes(getattr(item, "primary_field", None) or b""),
        secondary=bytes(getattr(item, "secondary_field", None) or b""),
    )


def _negotiate_one(
    context: RequestedContext, answer: Acceptance | None
) -> tuple[PresentationContext, Sequence[Any]]:
    """One context by `negotiate_as_acceptor`, in the order of transfer syntaxes that the answer wants."""
    asked = _presentation_context(context)
    if not asked.transfer_syntax:
        asked.result = 0x04
        asked.add_transfer_syntax("1.2.840.10008.1.2")
        return asked, ()
    taken: list[PresentationContext] = []
    if answer is not None:
        ours = PresentationContext()
        ours.abstract_syntax = context.abstract_syntax
        first, second = answer.transfer_syntaxes, context.transfer_syntaxes
        if not answer.own_order:
            first, second = second, first
        wanted = set(second)
        for uid in first:
            if uid in wanted:
                ours.add_transfer_syntax(uid)
        ours.scu_role, ours.scp_role = answer.scu_role, answer.scp_role
        taken.append(ours)
    roles = None
    if context.scu_role is not None and context.scp_role is not None:
        roles = {context.abstract_syntax: (context.scu_role, context.scp_role)}
    results, replies = negotiate_as_acceptor([asked], taken, roles)
    return results[0], replies


def _presentation_context(context: RequestedContext) -> PresentationContext:
    built = PresentationContext()
    try:
        built.context_id = context.context_id
        built.abstract_syntax = context.abstract_syntax
        for uid in context.transfer_syntaxes:
            built.add_transfer_syntax(uid)
    except ValueError as exc:
        raise _invalid(f"presentation context {context.context_id} holds no proper UID") from exc
    return built


def _encode_answer(
    results: Sequence[PresentationContext], user_items: Sequence[Any], maximum_length: int
) -> bytes:
    encoded = A_ASSOCIATE_AC()
    encoded.reserved_aet = encoded.reserved_aec = "GANTRY"
    encoded.variable_items.append(_application_context())
    for result in results:
        item = PresentationContextItemAC()
        item.from_primitive(result)
        encoded.variable_items.append(item)
    encoded.variable_items.append(_user_information(user_items, maximum_length))
    return bytes(encoded.encode())


def _application_context() -> ApplicationContextItem:
    item = ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


def _user_information(more: Sequence[Any], maximum_length: int) -> UserInformationItem:
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    item = UserInformationItem()
    item.from_primitive([length, implementation, version, *more])
    return item


def _extended_items(replies: Mapping[str, bytes]) -> Iterator[SOPClassExtendedNegotiation]:
    for uid, information in replies.items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = uid
        item.service_class_application_information = information
        yield item


def _role_items(contexts: Sequence[RequestedContext]) -> Iterator[SCP_SCU_RoleSelectionNegotiation]:
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


def _aet(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def _invalid(detail: str) -> ProtocolViolation:
    return ProtocolViolation(detail, AbortReason.INVALID_PARAMETER_VALUE)
