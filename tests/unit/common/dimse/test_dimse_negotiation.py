"""Association negotiation: every context answered, in the requestor's order, roles as proposed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC

from services.common.dimse import acse, associate_pdu
from services.common.dimse.negotiation import Acceptance, AssociationInfo, RequestedContext
from services.common.dimse.pdu import ProtocolViolation

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.2.826.0.1.3680043.99.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG2000 = "1.2.840.10008.1.2.4.90"
PEER = ("192.0.2.1", 1024)


class Fixed:
    """A policy that gives every context one answer."""

    def __init__(self, answer: Acceptance | None) -> None:
        self.answer = answer

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        return [self.answer for _ in requested]


def context(context_id: int = 1, uid: str = CT, *syntaxes: str, **more: object) -> RequestedContext:
    return RequestedContext(
        context_id=context_id,
        abstract_syntax=uid,
        transfer_syntaxes=syntaxes or (JPEG2000, EXPLICIT, IMPLICIT),
        **more,  # type: ignore[arg-type]
    )


def request(*contexts: RequestedContext) -> bytes:
    return acse.encode_request(called_aet="GANTRY", calling_aet="CT1", contexts=contexts, maximum_length=4096)


def negotiated(raw: bytes, answer: Acceptance | None) -> tuple[AssociationInfo, A_ASSOCIATE_AC, bytes]:
    info, encoded = acse.negotiate(acse.decode_request(raw, PEER), Fixed(answer), 131072)
    decoded = A_ASSOCIATE_AC()
    decoded.decode(encoded)
    return info, decoded, encoded


def test_what_the_requestor_says_of_itself_is_read() -> None:
    info = acse.decode_request(request(context()), PEER).info
    assert (info.calling_aet, info.called_aet, info.peer_address) == ("CT1", "GANTRY", PEER)
    assert info.peer_max_pdu == 4096
    assert info.peer_implementation_uid == associate_pdu.IMPLEMENTATION_CLASS_UID
    assert info.peer_implementation_version == associate_pdu.IMPLEMENTATION_VERSION_NAME
    assert info.requested == (context(),)


def test_the_requestors_first_acceptable_syntax_is_chosen() -> None:
    info, decoded, _ = negotiated(request(context()), Acceptance(transfer_syntaxes=(IMPLICIT, EXPLICIT)))
    assert info.contexts[1].transfer_syntax == EXPLICIT
    (item,) = decoded.presentation_context
    assert (item.result, item.transfer_syntax) == (0, EXPLICIT)
    assert decoded.user_information.maximum_length == 131072


def test_or_our_first_where_the_policy_prefers_so() -> None:
    answer = Acceptance(transfer_syntaxes=(IMPLICIT, EXPLICIT), own_order=True)
    assert negotiated(request(context()), answer)[0].contexts[1].transfer_syntax == IMPLICIT


def test_a_private_sop_class_and_syntax_are_accepted_where_the_policy_says_so() -> None:
    private_syntax = "1.2.826.0.1.3680043.99.2"
    raw = request(context(1, PRIVATE, private_syntax))
    info, _, _ = negotiated(raw, Acceptance(transfer_syntaxes=(private_syntax,)))
    assert info.contexts[1].transfer_syntax == private_syntax


def test_a_uid_that_is_not_quite_proper_is_taken_as_it_is() -> None:
    info, decoded, _ = negotiated(request(context(1, "1.2.03")), Acceptance(transfer_syntaxes=(IMPLICIT,)))
    assert info.contexts[1].abstract_syntax == "1.2.03"
    assert [item.result for item in decoded.presentation_context] == [0]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (None, 3),
        (Acceptance(transfer_syntaxes=("1.2.840.10008.1.2.2",)), 4),
        (Acceptance(transfer_syntaxes=()), 4),
    ],
)
def test_a_refused_context_says_why(answer: Acceptance | None, result: int) -> None:
    info, decoded, _ = negotiated(request(context()), answer)
    assert dict(info.contexts) == {}
    assert [item.result for item in decoded.presentation_context] == [result]


def test_128_contexts_are_all_answered() -> None:
    contexts = [context(2 * n + 1, f"1.2.3.{n}") for n in range(128)]
    info, decoded, _ = negotiated(request(*contexts), Acceptance(transfer_syntaxes=(IMPLICIT,)))
    assert len(info.contexts) == 128
    assert [item.context_id for item in decoded.presentation_context] == [2 * n + 1 for n in range(128)]


def test_one_abstract_syntax_in_many_contexts_is_accepted_in_each() -> None:
    raw = request(context(1, CT, JPEG2000), context(3, CT, IMPLICIT))
    info, _, _ = negotiated(raw, Acceptance(transfer_syntaxes=(IMPLICIT, JPEG2000)))
    assert {i: c.transfer_syntax for i, c in info.contexts.items()} == {1: JPEG2000, 3: IMPLICIT}


@pytest.mark.parametrize(
    ("scu", "scp", "peer_receives", "reply"),
    [
        pytest.param(None, None, True, None, id="no role selection"),
        pytest.param(True, True, True, (True, True), id="both"),
        pytest.param(False, True, True, (False, True), id="SCP"),
        pytest.param(True, False, False, (True, False), id="refusal"),
    ],
)
def test_roles(
    scu: bool | None, scp: bool | None, peer_receives: bool, reply: tuple[bool, bool] | None
) -> None:
    raw = request(context(scu_role=scu, scp_role=scp))
    info, decoded, _ = negotiated(raw, Acceptance(transfer_syntaxes=(IMPLICIT,)))
    assert info.contexts[1].peer_receives is peer_receives
    roles = decoded.user_information.role_selection
    assert {uid: (bool(r.scu_role), bool(r.scp_role)) for uid, r in roles.items()} == (
        {} if reply is None else {CT: reply}
    )


def test_extended_negotiation_is_answered() -> None:
    raw = request(context())
    item = (
        bytes([0x56, 0])
        + (2 + len(CT) + 3).to_bytes(2, "big")
        + len(CT).to_bytes(2, "big")
        + CT.encode()
        + b"\1\1\1"
    )
    asked = acse.decode_request(with_user_item(raw, item), PEER).info.requested[0]
    assert asked.extended == b"\1\1\1"
    answer = Acceptance(transfer_syntaxes=(IMPLICIT,), extended=b"\1\0\0")
    _, decoded, _ = negotiated(with_user_item(raw, item), answer)
    (reply,) = decoded.user_information.ext_neg
    assert (reply.uid, reply.app_info) == (CT, b"\1\0\0")


def with_user_item(raw: bytes, item: bytes) -> bytes:
    """`raw` with one more user information sub-item at its end, where that item stands."""
    position = 74
    while raw[position] != 0x50:
        position += 4 + int.from_bytes(raw[position + 2 : position + 4], "big")
    length = int.from_bytes(raw[position + 2 : position + 4], "big") + len(item)
    changed = raw[: position + 2] + length.to_bytes(2, "big") + raw[position + 4 :] + item
    return changed[:2] + (len(changed) - 6).to_bytes(4, "big") + changed[6:]


def test_unknown_items_are_ignored() -> None:
    raw = with_user_item(request(context()), bytes([0x5A, 0, 0, 2]) + b"xy")
    raw += bytes([0x33, 0, 0, 1]) + b"z"
    raw = raw[:2] + (len(raw) - 6).to_bytes(4, "big") + raw[6:]
    assert acse.decode_request(raw, PEER).info.requested == (context(),)


def test_ae_titles_keep_their_case_and_lose_their_blanks_and_come_back_untouched() -> None:
    raw = bytearray(request(context()))
    raw[10:26] = b"  Gantry        "
    raw[26:42] = "Röntgen".encode("latin-1").ljust(16)
    raw[42:74] = bytes(range(32))
    info, _, encoded = negotiated(bytes(raw), Acceptance(transfer_syntaxes=(IMPLICIT,)))
    assert (info.called_aet, info.calling_aet) == ("Gantry", "Röntgen")
    assert encoded[10:74] == bytes(raw[10:74])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request(context(1), context(1)), id="an ID twice"),
        pytest.param(request(context())[:100] + b"\xff" * 8 + request(context())[108:], id="garbage"),
        pytest.param(request(context()) + b"\x20", id="a byte too many"),
        pytest.param(request(context()) + b"\x20\0\xff\xff", id="an item too long"),
        pytest.param(request(context()) + b"\x20\0\0\2\1\0", id="a context without anything"),
    ],
)
def test_a_broken_request_is_a_violation(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        acse.negotiate(acse.decode_request(raw, PEER), Fixed(None), 0)


@given(st.data())
def test_a_damaged_request_is_read_or_a_violation(data: st.DataObject) -> None:
    raw = bytearray(request(context(scu_role=True, scp_role=True), context(3, PRIVATE)))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(74, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        acse.negotiate(
            acse.decode_request(bytes(raw), PEER), Fixed(Acceptance(transfer_syntaxes=(IMPLICIT,))), 0
        )
    except ProtocolViolation:
        return


def test_an_answer_is_read_by_the_requestor() -> None:
    contexts = (context(1, CT, JPEG2000), context(3, PRIVATE, IMPLICIT))
    raw = request(*contexts)
    _, _, encoded = negotiated(raw, Acceptance(transfer_syntaxes=(IMPLICIT,)))
    own = AssociationInfo(calling_aet="CT1", called_aet="GANTRY", peer_address=PEER)
    info = acse.decode_answer(encoded, {c.context_id: c for c in contexts}, own)
    assert {i: c.abstract_syntax for i, c in info.contexts.items()} == {3: PRIVATE}
    assert info.peer_max_pdu == 131072


def test_an_answer_that_accepts_what_was_not_proposed_is_a_violation() -> None:
    _, _, encoded = negotiated(request(context(1, CT, IMPLICIT)), Acceptance(transfer_syntaxes=(IMPLICIT,)))
    own = AssociationInfo(calling_aet="CT1", called_aet="GANTRY", peer_address=PEER)
    with pytest.raises(ProtocolViolation):
        acse.decode_answer(encoded, {1: context(1, CT, EXPLICIT)}, own)


@pytest.mark.parametrize(
    ("raw", "said"), [(bytes.fromhex("03000000000400020302"), "Transient"), (b"\3" + bytes(9), "result 0")]
)
def test_a_rejection_is_told_in_words(raw: bytes, said: str) -> None:
    assert said in acse.rejection_text(raw)
