"""Association requests and answers: read, negotiated and written (PS3.8 9.3, PS3.7 D.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import PresentationContextItemAC, PresentationContextItemRQ
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from services.common.dimse import pdu
from services.common.dimse.associate_pdu import (
    FIXED_BYTES,
    application_context,
    decode,
    extended_items,
    invalid,
    operations_window,
    presentation_context,
    role_items,
    user_information,
)
from services.common.dimse.negotiation import (
    Acceptance,
    AcceptedContext,
    AssociationInfo,
    ContextPolicy,
    RequestedContext,
    UserIdentity,
)

MAXIMUM_CONTEXTS = 128
_QUERY_RETRIEVE = "1.2.840.10008.5.1.4.1.2."
_SMALLEST_PEER_PDU = 128
"""A peer that takes less than this in a PDU could not take a command set in any sensible count of them."""


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
    """A decoded A-ASSOCIATE-RQ; `fixed` are its bytes 10 to 73, which the answer repeats.

    `operations` is how many operations at once it proposes to invoke, 0 for any, or None where it proposes
    no window.
    """

    info: AssociationInfo
    protocol_version: int
    application_context: str
    fixed: bytes
    operations: int | None


def decode_request(raw: bytes, peer_address: tuple[str, int]) -> AssociationRequest:
    """Read an A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it cannot be read.
    """
    decoded = decode(A_ASSOCIATE_RQ, raw)
    user = decoded.user_information
    roles = {} if user is None else {str(uid): item for uid, item in user.role_selection.items()}
    extended = {} if user is None else {str(i.uid): bytes(i.app_info or b"") for i in user.ext_neg}
    requested = tuple(_requested(item, roles, extended) for item in decoded.presentation_context)
    if len({context.context_id for context in requested}) != len(requested):
        raise invalid("two presentation contexts of one ID")
    info = AssociationInfo(
        calling_aet=_aet(raw[26:42]),
        called_aet=_aet(raw[10:26]),
        peer_address=peer_address,
        peer_max_pdu=_maximum_length(user),
        peer_implementation_uid=str((user and user.implementation_class_uid) or ""),
        peer_implementation_version=str((user and user.implementation_version_name) or ""),
        requested=requested,
        user_identity=_identity(user.user_identity) if user is not None and user.user_identity else None,
    )
    return AssociationRequest(
        info=info,
        protocol_version=decoded.protocol_version,
        application_context=str(decoded.application_context_name or ""),
        fixed=raw[10:FIXED_BYTES],
        operations=_operations(user),
    )


def negotiate(
    request: AssociationRequest, policy: ContextPolicy, maximum_length: int, window: int = 1
) -> tuple[AssociationInfo, bytes]:
    """Answer every requested context as `policy` says: the negotiated association and the A-ASSOCIATE-AC.

    `maximum_length` is the longest P-DATA-TF that we take, 0 for any; `window` how many operations at once
    a requestor may invoke that proposes more than one.
    """
    info = request.info
    answers = policy.accept(info.requested, info)
    items: list[PresentationContext] = []
    roles: dict[str, Any] = {}
    extended: dict[str, bytes] = {}
    accepted: dict[int, AcceptedContext] = {}
    for context, taken in zip(info.requested, answers, strict=True):
        result, role_replies = _negotiate_one(context, taken)
        items.append(result)
        if result.result != 0:
            continue
        roles.update((str(reply.sop_class_uid), reply) for reply in role_replies)
        if taken is not None and taken.extended is not None:
            extended[context.abstract_syntax] = taken.extended
        accepted[context.context_id] = AcceptedContext(
            context_id=context.context_id,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=str(result.transfer_syntax[0]),
            peer_receives=context.scp_role is not False,
        )
    granted = _granted(request.operations, accepted.values(), window)
    windows = [] if request.operations is None else [operations_window(granted)]
    raw = _encode_answer(items, [*windows, *roles.values(), *extended_items(extended)], maximum_length)
    # PS3.8 9.3.3: the reserved bytes, AE titles among them, come back as they were received.
    answer = raw[:10] + request.fixed + raw[FIXED_BYTES:]
    return replace(info, contexts=accepted, operations_window=granted), answer


def encode_request(
    *, called_aet: str, calling_aet: str, contexts: Sequence[RequestedContext], maximum_length: int
) -> bytes:
    """An A-ASSOCIATE-RQ that proposes `contexts`."""
    encoded = A_ASSOCIATE_RQ()
    encoded.called_ae_title = called_aet
    encoded.calling_ae_title = calling_aet
    encoded.variable_items.append(application_context())
    for context in contexts:
        item = PresentationContextItemRQ()
        item.from_primitive(presentation_context(context))
        encoded.variable_items.append(item)
    encoded.variable_items.append(user_information(list(role_items(contexts)), maximum_length))
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
    decoded = decode(A_ASSOCIATE_AC, raw)
    user = decoded.user_information
    accepted: dict[int, AcceptedContext] = {}
    for item in decoded.presentation_context:
        if item.result != 0:
            continue
        proposal = requested.get(item.context_id)
        syntax = str(item.transfer_syntax or "")
        if proposal is None or syntax not in proposal.transfer_syntaxes:
            raise invalid(f"context {item.context_id} was accepted but not so proposed")
        accepted[item.context_id] = AcceptedContext(
            context_id=item.context_id, abstract_syntax=proposal.abstract_syntax, transfer_syntax=syntax
        )
    return replace(
        info,
        peer_max_pdu=_maximum_length(user),
        peer_implementation_uid=str((user and user.implementation_class_uid) or ""),
        peer_implementation_version=str((user and user.implementation_version_name) or ""),
        contexts=accepted,
    )


def _operations(user: Any) -> int | None:
    window = user and user.async_ops_window
    return int(window.maximum_number_operations_invoked) if window else None


def _granted(proposed: int | None, accepted: Iterable[AcceptedContext], window: int) -> int:
    """How many operations at once the requestor may invoke.

    One at a time where it may query or retrieve: a cancel has to be read while such an operation runs, and
    so nothing may stand before it.
    """
    if proposed is None or any(c.abstract_syntax.startswith(_QUERY_RETRIEVE) for c in accepted):
        return 1
    return min(proposed or window, window)


def _maximum_length(user: Any) -> int:
    maximum = int((user and user.maximum_length) or 0)
    if 0 < maximum < _SMALLEST_PEER_PDU:
        raise invalid(f"a maximum length of {maximum}")
    return maximum


def _requested(item: Any, roles: Mapping[str, Any], extended: Mapping[str, bytes]) -> RequestedContext:
    context_id = item.presentation_context_id
    if context_id % 2 == 0:
        raise invalid(f"a presentation context of ID {context_id}")
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
    asked = presentation_context(context)
    if not asked.transfer_syntax:
        asked.result = 0x04
        asked.add_transfer_syntax("1.2.840.10008.1.2")
        return asked, ()
    taken: list[PresentationContext] = []
    if answer is not None and context.abstract_syntax:
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


def _encode_answer(
    results: Sequence[PresentationContext], user_items: Sequence[Any], maximum_length: int
) -> bytes:
    encoded = A_ASSOCIATE_AC()
    encoded.reserved_aet = encoded.reserved_aec = "GANTRY"
    encoded.variable_items.append(application_context())
    for result in results:
        item = PresentationContextItemAC()
        item.from_primitive(result)
        encoded.variable_items.append(item)
    encoded.variable_items.append(user_information(user_items, maximum_length))
    return bytes(encoded.encode())


def _aet(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")
