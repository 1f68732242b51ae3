"""Presentation contexts of query and retrieve: those accepted, and those proposed to a move destination."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.common.dimse.acse import MAXIMUM_CONTEXTS
from services.common.dimse.negotiation import Acceptance, AssociationInfo, ContextPolicy, RequestedContext
from services.common.dimse.requestor import VERIFICATION, ProposedContext
from services.common.model import Level, Location, Node, RenditionKind
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Instances that one association can carry, and the contexts to propose for them, at most 128."""

    contexts: tuple[ProposedContext, ...]
    locations: tuple[Location, ...]


def batches(locations: Sequence[Location], node: Node) -> Sequence[Batch]:
    """Share `locations` out over as few associations as their contexts need, in their order."""
    by_class: dict[str, list[Location]] = {}
    for location in locations:
        by_class.setdefault(location.sop_class_uid, []).append(location)
    groups: list[dict[str, tuple[ProposedContext, ...]]] = [{}]
    for sop_class, members in by_class.items():
        contexts = _proposed(sop_class, members, node)
        if sum(map(len, groups[-1].values())) + len(contexts) > MAXIMUM_CONTEXTS:
            groups.append({})
        groups[-1][sop_class] = contexts
    return [
        Batch(
            contexts=tuple(context for contexts in group.values() for context in contexts),
            locations=tuple(location for location in locations if location.sop_class_uid in group),
        )
        for group in groups
        if group
    ]


def _proposed(sop_class: str, members: Iterable[Location], node: Node) -> tuple[ProposedContext, ...]:
    """Each compressed transfer syntax in a context of its own beside one for the uncompressed ones.

    A peer takes one transfer syntax of a context, so that in one context it would refuse the others; an
    uncompressed one that something is stored in has its own too, to go as it is.
    """
    stored = _stored_syntaxes(members)
    offered = node.transfer_syntax_uids or (*filter(_is_plain, stored), *UNCOMPRESSED, *stored)
    plain = tuple(dict.fromkeys(filter(_is_plain, offered)))
    contexts = []
    for uid in dict.fromkeys(offered):
        if _is_plain(uid) and uid == plain[0]:
            contexts.append(ProposedContext(abstract_syntax=sop_class, transfer_syntaxes=plain))
        elif uid in stored or not _is_plain(uid):
            contexts.append(ProposedContext(abstract_syntax=sop_class, transfer_syntaxes=(uid,)))
    return tuple(contexts)


def _is_plain(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid in UNCOMPRESSED


def _stored_syntaxes(members: Iterable[Location]) -> Sequence[str]:
    """What the originals are stored in, then what their renditions are."""
    originals: dict[str, None] = {}
    renditions: dict[str, None] = {}
    for member in members:
        originals[member.transfer_syntax_uid] = None
        rendition = member.rendition(RenditionKind.JPEG2000)
        if rendition is not None:
            renditions[rendition.transfer_syntax_uid] = None
    return list(originals | renditions)
