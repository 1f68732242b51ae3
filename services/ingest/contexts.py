"""Which presentation contexts ingest takes: Verification and everything that may be a Storage SOP class."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom._uid_dict import UID_dictionary

from services.common.dimse.negotiation import Acceptance, AssociationInfo, RequestedContext

VERIFICATION = "1.2.840.10008.1.1"
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")

# Composite objects' SOP classes lie under this root, the newest too, which the dictionary may not know yet.
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NO_STORAGE = ("Storage Commitment", "Media Storage Directory")


def is_storage(abstract_syntax: str, *, unknown: bool) -> bool:
    """Whether objects of this SOP class can be stored.

    That is every class of the Storage Service (PS3.4 B.5 and GG.3), retired and trial ones included, and,
    where `unknown`, any that the dictionary does not know, such as a private one.
    """
    entry = UID_dictionary.get(abstract_syntax)
    if entry is None:
        return unknown or abstract_syntax.startswith(_STORAGE_ROOT)
    name, kind, *_ = entry
    is_named_so = " Storage" in name and not name.startswith(_NO_STORAGE)
    return kind == "SOP Class" and (is_named_so or not name)  # two retired ones have lost their names


class StorageContexts:
    """Takes storage in whatever transfer syntax is proposed, for bytes are kept as they come.

    The requestor's first transfer syntax is taken: it is the one in which it holds the object.
    """

    def __init__(self, *, unknown_sop_classes: bool) -> None:
        """With `unknown_sop_classes`, private and unknown SOP classes are storage too."""
        self._unknown = unknown_sop_classes

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        """One answer for each of `requested`, in its order; None: abstract syntax not supported."""
        return [self._answer(context) for context in requested]

    def _answer(self, context: RequestedContext) -> Acceptance | None:
        if context.abstract_syntax == VERIFICATION:
            return Acceptance(transfer_syntaxes=UNCOMPRESSED)
        if is_storage(context.abstract_syntax, unknown=self._unknown):
            return Acceptance(transfer_syntaxes=context.transfer_syntaxes)
        return None
