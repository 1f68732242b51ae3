"""One malformed UID spoils its presentation context, and no other."""

from __future__ import annotations

import struct

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC

from services.common.dimse import acse
from services.common.dimse.associate_pdu import decode
from services.common.dimse.negotiation import AssociationInfo, RequestedContext
from tests.fakes.dimse_archive import TakesAll
from tests.fakes.raw_peer import CT, EXPLICIT, IMPLICIT, associate_rq

PEER = ("127.0.0.1", 104)
TOO_LONG = b"1." * 40 + b"1"


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def context(context_id: int, abstract: bytes, *transfer: bytes, kind: int = 0x20) -> bytes:
    syntaxes = b"".join(item(0x40, uid) for uid in transfer)
    named = item(0x30, abstract) if kind == 0x20 else b""
    return item(kind, bytes([context_id, 0, 0, 0]) + named + syntaxes)


GOOD = context(1, CT.encode(), EXPLICIT.encode())


def request(*contexts: bytes, user_item: bytes = b"") -> bytes:
    """An A-ASSOCIATE-RQ with these presentation context items."""
    plain = associate_rq([])
    position = 74 + 4 + int.from_bytes(plain[76:78], "big")
    user = item(0x50, plain[position + 4 :] + user_item)
    body = plain[6:position] + b"".join(contexts) + user
    return struct.pack(">BxI", 1, len(body)) + body


@pytest.mark.parametrize(
    ("spoilt", "result"),
    [
        pytest.param(context(3, TOO_LONG, IMPLICIT.encode()), 3, id="abstract syntax too long"),
        pytest.param(context(3, b"1.2.x", IMPLICIT.encode()), 3, id="abstract syntax of letters"),
        pytest.param(context(3, b"1.2.\xff", IMPLICIT.encode()), 3, id="abstract syntax beyond ASCII"),
        pytest.param(context(3, b"", IMPLICIT.encode()), 3, id="abstract syntax empty"),
        pytest.param(context(3, b"1.2.3", TOO_LONG), 4, id="transfer syntax too long"),
        pytest.param(context(3, b"1.2.3", b"\xff", b"x"), 4, id="transfer syntaxes of anything"),
        pytest.param(context(3, b"1.2.3", TOO_LONG, IMPLICIT.encode()), 0, id="one transfer syntax is good"),
        pytest.param(context(3, b"1.02.3\0", IMPLICIT.encode() + b" "), 0, id="padding and leading zeros"),
    ],
)
def test_the_context_alone_is_rejected(spoilt: bytes, result: int) -> None:
    decoded = acse.decode_request(request(spoilt, GOOD), PEER)
    info, encoded = acse.negotiate(decoded, TakesAll(), 0)
    answer = decode(A_ASSOCIATE_AC, encoded)
    assert [(one.context_id, one.result) for one in answer.presentation_context] == [(3, result), (1, 0)]
    assert info.contexts.keys() == ({1, 3} if result == 0 else {1})


@pytest.mark.parametrize("kind", [0x54, 0x56])
@pytest.mark.parametrize("uid", [TOO_LONG, b"\xff\xfe", b""])
def test_a_role_or_extension_of_no_sop_class_is_passed_over(kind: int, uid: bytes) -> None:
    spoilt = item(kind, struct.pack(">H", len(uid)) + uid + b"\1\1")
    info, _ = acse.negotiate(acse.decode_request(request(GOOD, user_item=spoilt), PEER), TakesAll(), 0)
    assert info.contexts.keys() == {1}


@pytest.mark.parametrize("syntax", [b"", b"none", TOO_LONG, b"\xff"])
def test_a_rejected_context_of_an_answer_may_name_any_transfer_syntax(syntax: bytes) -> None:
    """PS3.8 9.3.3.2: it is not significant there."""
    _, encoded = acse.negotiate(acse.decode_request(request(GOOD), PEER), TakesAll(), 0)
    rejected = bytearray(context(3, b"", syntax, kind=0x21))
    rejected[6] = 3
    raw = encoded + bytes(rejected)
    raw = raw[:2] + struct.pack(">I", len(raw) - 6) + raw[6:]
    asked = {
        1: RequestedContext(context_id=1, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,)),
        3: RequestedContext(context_id=3, abstract_syntax="1.2.3", transfer_syntaxes=(EXPLICIT,)),
    }
    own = AssociationInfo(calling_aet="CT1", called_aet="GANTRY", peer_address=PEER)
    assert acse.decode_answer(raw, asked, own).contexts.keys() == {1}
