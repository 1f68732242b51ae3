"""Which presentation contexts are proposed to a node, and over how many associations in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.common.dimse.acse import MAXIMUM_CONTEXTS
from services.common.dimse.requestor import ProposedContext
from services.common.model import Location, Node, RenditionKind
from services.common.retrieval import UNCOMPRESSED


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
    return tuple(contexts[:MAXIMUM_CONTEXTS])


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
