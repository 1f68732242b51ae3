"""Sending instances to a node over associations of our own: the sub-operations of a C-MOVE (PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from services.common import logs
from services.common.dimse.acceptor import AssociationLost
from services.common.dimse.handlers import StoreOutcome
from services.common.dimse.negotiation import AcceptedContext
from services.common.dimse.requestor import OutboundAssociation, ProposedContext
from services.common.errors import BlobMissing, GantryError, Unavailable
from services.common.model import Location, Node
from services.common.ports import BlobStore, Converter
from services.common.retrieval import Outgoing, open_instances
from services.qr.contexts import Batch, batches
from services.qr.progress import Result, SubOperation

_log = logs.get(__name__)

Associate = Callable[[Node, Sequence[ProposedContext]], OutboundAssociation]
"""Opens an association with a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Originator:
    """Who asked for the move, in which message, and with which priority."""

    aet: str
    message_id: int
    priority: int


class Receiver:
    """What the other side of an association takes, of the contexts that were agreed on."""

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


class Delivery:
    """Sends a fixed list of instances to one node."""

    def __init__(
        self,
        *,
        node: Node,
        originator: Originator,
        store: BlobStore,
        converter: Converter,
        associate: Associate,
    ) -> None:
        self._node = node
        self._originator = originator
        self._store = store
        self._converter = converter
        self._associate = associate

    def send(self, locations: Sequence[Location]) -> Generator[SubOperation, None, None]:
        """Each instance's end, as it comes.

        A node that is lost is connected to once more; if it is lost at the same instance again, or cannot
        be reached, the rest fails.
        """
        for batch in batches(locations, self._node):
            yield from self._send_batch(batch)

    def _send_batch(self, batch: Batch) -> Generator[SubOperation, None, None]:
        done = 0
        lost_at: int | None = None
        while done < len(batch.locations):
            try:
                association = self._associate(self._node, batch.contexts)
            except Unavailable as exc:
                _log.warning("move_destination_unavailable", aet=self._node.aet, reason=str(exc))
                break
            try:
                for ended in self._send_over(association, batch.locations[done:]):
                    done += 1
                    yield ended
            except AssociationLost as exc:
                _log.warning("move_destination_lost", aet=self._node.aet, reason=str(exc))
                if lost_at == done:
                    break
                lost_at = done
            finally:
                association.release()
        for location in batch.locations[done:]:
            yield failed(location, "destination lost")

    def _send_over(
        self, association: OutboundAssociation, locations: Sequence[Location]
    ) -> Generator[SubOperation, None, None]:
        receiver = Receiver(association.info.contexts.values())

        def store(outgoing: Outgoing) -> StoreOutcome:
            return association.store(
                context=receiver.context(outgoing),
                sop_class_uid=outgoing.location.sop_class_uid,
                sop_instance_uid=outgoing.location.key.sop_instance_uid,
                chunks=outgoing.chunks,
                length=outgoing.length,
                priority=self._originator.priority,
                move_originator_aet=self._originator.aet,
                move_originator_message_id=self._originator.message_id,
            )

        opened = open_instances(locations, receiver.accepted, self._store, self._converter)
        with closing(opened):
            for outgoing in opened:
                yield sub_operation(outgoing, store)
                if association.is_over:
                    return


def sub_operation(outgoing: Outgoing, store: Callable[[Outgoing], StoreOutcome]) -> SubOperation:
    """Store one instance and say how it ended.

    Raises:
        AssociationLost: there is nobody to store at any more.
    """
    location = outgoing.location
    error = outgoing.error
    if error is None:
        try:
            outcome = store(outgoing)
        except AssociationLost:
            raise
        except GantryError as exc:
            error = exc
    if error is not None:
        if isinstance(error, BlobMissing):
            _log.error("blob_missing", sop_instance_uid=location.key.sop_instance_uid, detail=str(error))
        return failed(location, type(error).__name__)
    if outcome.is_success or outcome.is_warning:
        return SubOperation(
            sop_instance_uid=location.key.sop_instance_uid,
            result=Result.COMPLETED if outcome.is_success else Result.WARNING,
        )
    return failed(location, f"{outcome.status:04X}")


def failed(location: Location, reason: str) -> SubOperation:
    """A sub-operation that did not succeed, or never began."""
    return SubOperation(sop_instance_uid=location.key.sop_instance_uid, result=Result.FAILED, reason=reason)
