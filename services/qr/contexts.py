"""Presentation contexts of query and retrieve."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.dimse.negotiation import Acceptance, AssociationInfo, ContextPolicy, RequestedContext
from services.common.dimse.requestor import VERIFICATION
from services.common.model import Level
from services.common.ports import NodeRules
from services.common.retrieval import UNCOMPRESSED

_PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1"
_STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
_PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3"
_LEVELS = {
    _PATIENT_ROOT: (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    _STUDY_ROOT: (Level.STUDY, Level.SERIES, Level.IMAGE),
    _PATIENT_STUDY_ONLY: (Level.PATIENT, Level.STUDY),
}
FIND, MOVE, GET = ({f"{model}.{service}" for model in _LEVELS} for service in (1, 2, 3))
"""SOP classes of the Query/Retrieve Service Class (PS3.4 C.3 and C.5), the retired model included."""

_IDENTIFIER_SYNTAXES = (*UNCOMPRESSED, "1.2.840.10008.1.2.2")


def levels_of(sop_class_uid: str) -> Sequence[Level]:
    """The levels of the information model that a Query/Retrieve SOP class works on."""
    return _LEVELS[sop_class_uid.rpartition(".")[0]]


class QueryRetrieveContexts:
    """Takes query and retrieve, and storage as `storage` says, for what C-GET sends or C-STORE brings.

    Where C-GET is proposed, a storage context that offers several transfer syntaxes gets the first of the
    node's own, then an uncompressed one, for into that every object can be turned; a requestor that offers
    each in a context of its own gets every object as it is.
    """

    def __init__(self, storage: ContextPolicy, nodes: NodeRules) -> None:
        self._storage = storage
        self._nodes = nodes

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        """One answer for each of `requested`, in its order; None: abstract syntax not supported."""
        node = self._nodes.find(info.calling_aet)
        preferred = (*(node.transfer_syntax_uids if node else ()), *UNCOMPRESSED)
        gets = any(context.abstract_syntax in GET for context in requested)
        answers: list[Acceptance | None] = []
        for context, stored in zip(requested, self._storage.accept(requested, info), strict=True):
            if context.abstract_syntax in FIND | MOVE | GET:
                answers.append(_query_retrieve(context))
            elif (
                gets and stored and context.scp_role is not False and context.abstract_syntax != VERIFICATION
            ):
                syntaxes = tuple(dict.fromkeys((*preferred, *context.transfer_syntaxes)))
                answers.append(Acceptance(transfer_syntaxes=syntaxes, own_order=True))
            else:
                answers.append(stored)
        return answers


def _query_retrieve(context: RequestedContext) -> Acceptance:
    """Relational queries and retrievals are granted; combined date-time and fuzzy matching are not.

    PS3.4 C.5.1.1 and C.5.2.1: one byte each, relational first.
    """
    asked = context.extended
    granted = None if asked is None else asked[:1] + bytes(len(asked[1:]))
    return Acceptance(transfer_syntaxes=_IDENTIFIER_SYNTAXES, extended=granted)
