"""Sending a list of instances to a node, over associations of our own (PS3.4 Annex B, as SCU)."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from services.common import logs
from services.common.dimse.handlers import StoreOutcome
from services.common.dimse.lane import AssociationLost
from services.common.dimse.requestor import OutboundAssociation, ProposedContext
from services.common.errors import Unavailable
from services.common.model import Location, Node
from services.common.ports import BlobReader, Converter
from services.common.retrieval import INSTANCES, Outgoing, ReadAhead
from services.common.sending.contexts import Batch, batches
from services.common.sending.ending import Ended, store_one
from services.common.sending.receiver import Receiver
from services.common.sending.work import Work

HEARTBEAT_SECONDS = 4.0
"""A viewer wants a pending response every 5 s."""

RECONNECT_SECONDS = 1.0
"""A node that does not take the association after it has lost one is asked once more after this time."""

_log = logs.get(__name__)

Associate = Callable[[Node, Sequence[ProposedContext]], OutboundAssociation]
"""Opens an association with a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Originator:
    """Who asked for a move, in which message, and with which priority (PS3.7 9.1.1.1)."""

    aet: str
    message_id: int
    priority: int


class Sender:
    """Sends to one node, over as many associations at a time as the node allows."""

    def __init__(
        self,
        *,
        node: Node,
        store: BlobReader,
        converter: Converter,
        associate: Associate,
        originator: Originator | None = None,
    ) -> None:
        """`originator` is who asked for a C-MOVE."""
        self._node = node
        self._store = store
        self._converter = converter
        self._associate = associate
        self._originator = originator

    def send(
        self,
        locations: Sequence[Location],
        *,
        stop: threading.Event | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> Generator[Ended | None, None, None]:
        """Each instance's end as it comes, and None whenever nothing ended for `heartbeat` seconds.

        They are begun in their order.  An instance at which the node is lost is tried once more over a new
        association, and fails if that is lost at it too; after three such in a row, or where the node
        cannot be reached, the rest fails.  After `stop` is set no other begins: those that run still end.
        Closing the iterator waits for those that run.
        """
        stop = stop or threading.Event()
        for batch in batches(locations, self._node):
            if not stop.is_set():
                yield from self._send_batch(batch, stop, heartbeat)

    def _send_batch(
        self, batch: Batch, stop: threading.Event, heartbeat: float
    ) -> Generator[Ended | None, None, None]:
        count = min(self._node.associations, len(batch.locations))
        # What one association reads ahead, the others cannot send.
        ahead = max(1, min(INSTANCES, len(batch.locations)) // count - 1)
        work = Work(batch.locations, workers=count, stop=stop)
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work, batch.contexts, work, ahead),
                name="sending",
                daemon=True,
            )
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield from work.results(heartbeat)
        finally:
            work.abandon()
            for thread in threads:
                thread.join()

    def _work(self, contexts: Sequence[ProposedContext], work: Work, ahead: int) -> None:
        """One worker, from its first association to its last."""
        error: BaseException | None = None
        detail = ""
        try:
            has_lost = False
            while work.await_more():
                association = self._open(contexts, patiently=has_lost)
                try:
                    has_lost = self._send_over(association, work, ahead)
                finally:
                    association.release()
        except Unavailable as exc:
            _log.warning("destination_unavailable", aet=self._node.aet, reason=str(exc))
            detail = str(exc)
        except BaseException as exc:  # noqa: BLE001 - raised again where the results are read
            error = exc
        finally:
            work.leave(error, detail)

    def _open(self, contexts: Sequence[ProposedContext], *, patiently: bool) -> OutboundAssociation:
        try:
            return self._associate(self._node, contexts)
        except Unavailable:
            if not patiently:
                raise
        threading.Event().wait(RECONNECT_SECONDS)
        return self._associate(self._node, contexts)

    def _send_over(self, association: OutboundAssociation, work: Work, ahead: int) -> bool:
        """Send until there is no more or the association is over; whether it was lost."""
        receiver = Receiver(association.info.contexts.values())
        taken: deque[Location] = deque()

        def draw() -> Iterator[Location]:
            while (location := work.take()) is not None:
                taken.append(location)
                yield location

        def store(outgoing: Outgoing) -> StoreOutcome:
            return self._store_over(association, receiver, outgoing)

        try:
            while work.await_more():
                with self._read_ahead(draw(), receiver, ahead) as opened:
                    for outgoing in opened:
                        ended = store_one(outgoing, store)
                        taken.popleft()
                        work.end(ended)
                        if association.is_over or work.is_stopped:
                            return False
            return False
        except AssociationLost as exc:
            _log.warning("destination_lost", aet=self._node.aet, reason=str(exc))
            work.lose(tuple(taken), str(exc))
            taken.clear()
            return True
        finally:
            work.give_back(tuple(taken))

    def _read_ahead(self, locations: Iterator[Location], receiver: Receiver, ahead: int) -> ReadAhead:
        return ReadAhead(
            locations, receiver.accepted, self._store, self._converter, instances=ahead, reuse=True
        )

    def _store_over(
        self, association: OutboundAssociation, receiver: Receiver, outgoing: Outgoing
    ) -> StoreOutcome:
        originator = self._originator
        return association.store(
            context=receiver.context(outgoing),
            sop_class_uid=outgoing.location.sop_class_uid,
            sop_instance_uid=outgoing.location.key.sop_instance_uid,
            chunks=outgoing.chunks,
            length=outgoing.length,
            priority=originator.priority if originator else 0,
            move_originator_aet=originator.aet if originator else None,
            move_originator_message_id=originator.message_id if originator else None,
        )
