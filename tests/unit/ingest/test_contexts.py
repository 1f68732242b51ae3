"""Which presentation contexts ingest takes."""

from __future__ import annotations

import pytest
from pynetdicom import sop_class

from services.common.dimse.negotiation import AssociationInfo, RequestedContext
from services.ingest.contexts import StorageContexts, is_storage

INFO = AssociationInfo(calling_aet="CT1", called_aet="GANTRY", peer_address=("127.0.0.1", 1))


@pytest.mark.parametrize("uid", sorted(sop_class._STORAGE_CLASSES.values()))
def test_every_storage_sop_class_is_storage(uid: str) -> None:
    assert is_storage(uid, unknown=False)


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.1",
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.5.1.4.1.2.2.1",
        "1.2.840.10008.5.1.4.31",
        "1.2.840.10008.5.1.4.1.1.200.4",
        "1.2.840.10008.1.2.1",
    ],
)
def test_other_services_and_transfer_syntaxes_are_not_storage(uid: str) -> None:
    assert not is_storage(uid, unknown=True)


def test_a_private_sop_class_is_storage_by_policy_alone() -> None:
    assert is_storage("1.3.12.2.1107.5.9.1", unknown=True)
    assert not is_storage("1.3.12.2.1107.5.9.1", unknown=False)


def test_a_newer_standard_class_than_the_dictionary_is_storage() -> None:
    assert is_storage("1.2.840.10008.5.1.4.1.1.999.1", unknown=False)


def test_storage_is_taken_in_every_proposed_transfer_syntax_and_verification_uncompressed() -> None:
    requested = [
        RequestedContext(context_id=1, abstract_syntax="1.2.840.10008.1.1", transfer_syntaxes=("1.2.3",)),
        RequestedContext(
            context_id=3,
            abstract_syntax="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntaxes=("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"),
        ),
        RequestedContext(
            context_id=5, abstract_syntax="1.2.840.10008.5.1.4.31", transfer_syntaxes=("1.2.840.10008.1.2",)
        ),
    ]
    verification, ct, worklist = StorageContexts(unknown_sop_classes=True).accept(requested, INFO)
    assert verification is not None and "1.2.3" not in verification.transfer_syntaxes
    assert ct is not None and ct.transfer_syntaxes == requested[1].transfer_syntaxes
    assert worklist is None
