"""What is proposed to a node, and over how many associations in turn."""

from __future__ import annotations

import pytest

from services.common.model import Node
from services.common.sending.contexts import batches
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import CT, EXPLICIT, JPEG2000, located

IMPLICIT, JPEG, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
MR = "1.2.840.10008.5.1.4.1.1.4"
NODE = Node(aet="ARCHIVE", host="127.0.0.1", port=104)


def test_each_compressed_syntax_is_proposed_beside_one_uncompressed_context() -> None:
    store = MemoryStore()
    locations = [
        located(store, 1, jpeg2000=b"rendition"),
        located(store, 2, transfer_syntax_uid=JPEG),
        located(store, 3, transfer_syntax_uid=RLE),
        located(store, 4, sop_class_uid=MR),
    ]
    (batch,) = batches(locations, NODE)
    assert [(context.abstract_syntax, context.transfer_syntaxes) for context in batch.contexts] == [
        (CT, (EXPLICIT, IMPLICIT)),
        (CT, (JPEG,)),
        (CT, (RLE,)),
        (CT, (JPEG2000,)),
        (MR, (EXPLICIT, IMPLICIT)),
    ]
    assert list(batch.locations) == locations


@pytest.mark.parametrize(
    ("stored", "proposed"),
    [
        ([EXPLICIT], [(EXPLICIT, IMPLICIT)]),
        ([IMPLICIT], [(IMPLICIT, EXPLICIT)]),
        ([IMPLICIT, EXPLICIT], [(IMPLICIT, EXPLICIT), (EXPLICIT,)]),
        ([JPEG], [(EXPLICIT, IMPLICIT), (JPEG,)]),
    ],
)
def test_uncompressed_originals_can_go_as_they_are(
    stored: list[str], proposed: list[tuple[str, ...]]
) -> None:
    store = MemoryStore()
    (batch,) = batches([located(store, n, transfer_syntax_uid=uid) for n, uid in enumerate(stored)], NODE)
    assert [context.transfer_syntaxes for context in batch.contexts] == proposed


def test_a_node_is_offered_its_own_list_in_its_order() -> None:
    node = Node(aet="A", host="", port=1, transfer_syntax_uids=(JPEG2000, IMPLICIT, EXPLICIT))
    (batch,) = batches([located(MemoryStore(), 1, transfer_syntax_uid=RLE)], node)
    assert [context.transfer_syntaxes for context in batch.contexts] == [(JPEG2000,), (IMPLICIT, EXPLICIT)]


def test_never_more_than_128_contexts_in_an_association() -> None:
    store = MemoryStore()
    locations = [
        located(store, n, sop_class_uid=f"1.2.{n % 100}", transfer_syntax_uid=JPEG) for n in range(300)
    ]
    shared = batches(locations, NODE)
    assert [len(batch.contexts) for batch in shared] == [128, 72]
    assert sorted(x.key.sop_instance_uid for b in shared for x in b.locations) == sorted(
        x.key.sop_instance_uid for x in locations
    )
    for batch in shared:
        assert list(batch.locations) == [x for x in locations if x in batch.locations]


def test_nothing_to_send_needs_no_association() -> None:
    assert batches([], NODE) == []


def test_more_syntaxes_of_one_class_than_an_association_proposes_leave_128() -> None:
    store = MemoryStore()
    (batch,) = batches([located(store, n, transfer_syntax_uid=f"1.2.{n}") for n in range(200)], NODE)
    assert len(batch.contexts) == 128
    assert len(batch.locations) == 200
