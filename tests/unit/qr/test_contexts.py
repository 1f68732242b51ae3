"""Presentation contexts: what is accepted of a viewer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.common.dimse.negotiation import Acceptance, AssociationInfo, RequestedContext
from services.common.model import Level, Node
from services.ingest.contexts import StorageContexts
from services.qr.contexts import FIND, GET, MOVE, QueryRetrieveContexts, levels_of
from tests.fakes.scripted_catalog import CT, EXPLICIT, JPEG2000

IMPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"


class Nodes:
    """A viewer that prefers JPEG 2000, and nobody else."""

    def find(self, aet: str) -> Node | None:
        return Node(aet=aet, host="", port=1, transfer_syntax_uids=(JPEG2000,)) if aet == "J2K" else None

    def all(self) -> Sequence[Node]:
        return []


def chosen(
    contexts: Sequence[tuple[str, tuple[str, ...], bool | None]], calling_aet: str = "VIEWER"
) -> list[str | None]:
    """The transfer syntax that each proposed context gets."""
    requested = [
        RequestedContext(context_id=2 * n + 1, abstract_syntax=uid, transfer_syntaxes=syntaxes, scp_role=role)
        for n, (uid, syntaxes, role) in enumerate(contexts)
    ]
    policy = QueryRetrieveContexts(StorageContexts(unknown_sop_classes=True), Nodes())
    info = AssociationInfo(calling_aet=calling_aet, called_aet="GANTRY", peer_address=("", 0))
    return [
        _first(context, answer)
        for context, answer in zip(requested, policy.accept(requested, info), strict=True)
    ]


def _first(context: RequestedContext, answer: Acceptance | None) -> str | None:
    if answer is None:
        return None
    first, second = context.transfer_syntaxes, answer.transfer_syntaxes
    if answer.own_order:
        first, second = tuple(answer.transfer_syntaxes), context.transfer_syntaxes
    return next((uid for uid in first if uid in second), None)


@pytest.mark.parametrize("sop_class", sorted(FIND | MOVE | GET))
def test_every_model_is_taken_uncompressed(sop_class: str) -> None:
    assert chosen([(sop_class, (JPEG, IMPLICIT, EXPLICIT), None)]) == [IMPLICIT]


def test_levels_of_the_models() -> None:
    assert [level.name for level in levels_of("1.2.840.10008.5.1.4.1.2.2.1")] == ["STUDY", "SERIES", "IMAGE"]
    assert levels_of("1.2.840.10008.5.1.4.1.2.1.3") == tuple(Level)
    assert Level.IMAGE not in levels_of("1.2.840.10008.5.1.4.1.2.3.2")


@pytest.mark.parametrize(
    ("syntaxes", "role", "calling_aet", "expected"),
    [
        ((JPEG2000, JPEG, IMPLICIT, EXPLICIT), None, "HOROS", EXPLICIT),
        ((JPEG2000, JPEG, IMPLICIT, EXPLICIT), True, "HOROS", EXPLICIT),
        ((JPEG2000, JPEG, IMPLICIT, EXPLICIT), None, "J2K", JPEG2000),
        ((JPEG2000, JPEG, IMPLICIT, EXPLICIT), False, "HOROS", JPEG2000),
        ((JPEG,), None, "HOROS", JPEG),
        ((IMPLICIT,), None, "J2K", IMPLICIT),
    ],
)
def test_a_viewer_that_gets_is_given_what_everything_can_be_turned_into(
    syntaxes: tuple[str, ...], role: bool | None, calling_aet: str, expected: str
) -> None:
    both = chosen([(STUDY_ROOT_GET, (IMPLICIT,), None), (CT, syntaxes, role)], calling_aet)
    assert both == [IMPLICIT, expected]


def test_storage_without_get_is_what_ingest_takes() -> None:
    assert chosen([(CT, (JPEG2000, EXPLICIT), None), ("1.2.840.10008.1.20.1", (EXPLICIT,), None)]) == [
        JPEG2000,
        None,
    ]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(None, None), (b"\x01", b"\x01"), (b"\x01\x01\x01", b"\x01\0\0"), (b"\0\x01", b"\0\0")],
)
def test_relational_queries_are_granted_and_nothing_else(asked: bytes | None, granted: bytes | None) -> None:
    requested = RequestedContext(
        context_id=1, abstract_syntax=STUDY_ROOT_GET, transfer_syntaxes=(EXPLICIT,), extended=asked
    )
    policy = QueryRetrieveContexts(StorageContexts(unknown_sop_classes=True), Nodes())
    info = AssociationInfo(calling_aet="A", called_aet="B", peer_address=("", 0))
    (answer,) = policy.accept([requested], info)
    assert answer is not None
    assert answer.extended == granted
