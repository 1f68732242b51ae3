"""What the other end of an association takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.common.dimse.negotiation import AcceptedContext
from services.common.retrieval import Outgoing


class Receiver:
    """What is taken on the contexts that were agreed on."""

    def __init__(self, contexts: Iterable[AcceptedContext]) -> None:
        """`contexts` are in the order in which the receiver likes to be sent to."""
        self._by_class: dict[str, dict[str, AcceptedContext]] = {}
        for context in contexts:
            if context.peer_receives:
                syntaxes = self._by_class.setdefault(context.abstract_syntax, {})
                syntaxes.setdefault(context.transfer_syntax, context)

    def accepted(self, sop_class_uid: str) -> Sequence[str]:
        """The transfer syntaxes that it takes for a SOP class, best first."""
        return tuple(self._by_class.get(sop_class_uid, ()))

    def context(self, outgoing: Outgoing) -> AcceptedContext:
        """Where an instance goes that was opened for what `accepted` said."""
        return self._by_class[outgoing.location.sop_class_uid][outgoing.transfer_syntax_uid]
