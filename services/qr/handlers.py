"""C-FIND, C-MOVE and C-GET (PS3.4 C.4): the protocol's edge of the catalog and of `retrieval`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from threading import Event

from services.common import logs
from services.common.dimse.handlers import Association, IsCancelled, Response, StoreOutcome
from services.common.dimse.messages import Command
from services.common.dimse.negotiation import AcceptedContext
from services.common.dimse.status import PENDING, PENDING_WITHOUT_OPTIONAL_KEYS
from services.common.errors import UnknownNode
from services.common.model import Location
from services.common.ports import BlobStore, CatalogReader, Converter, NodeRules
from services.common.retrieval import RENDERED_IN, Outgoing, ReadAhead
from services.common.sending import (
    HEARTBEAT_SECONDS,
    Associate,
    Ended,
    Originator,
    Receiver,
    Sender,
    store_one,
)
from services.qr.answers import AnswerEncoder
from services.qr.contexts import levels_of
from services.qr.identifiers import question, selection
from services.qr.pace import PENDING_SECONDS, Pace
from services.qr.progress import Progress

_log = logs.get(__name__)


class FindHandler:
    """C-FIND (PS3.4 C.4.1)."""

    def __init__(self, catalog: CatalogReader, *, ae_title: str) -> None:
        """Answers name `ae_title` as where to retrieve from."""
        self._catalog = catalog
        self._ae_title = ae_title

    def find(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """A pending response for each match, until the last or a cancel."""
        asked = question(identifier, context.transfer_syntax, levels_of(context.abstract_syntax))
        encoder = AnswerEncoder(asked, context.transfer_syntax, self._ae_title)
        status = PENDING if asked.is_fully_supported else PENDING_WITHOUT_OPTIONAL_KEYS
        for match in self._catalog.find(asked.query):
            if cancelled():
                return
            yield Response(status=status, identifier=encoder.encode(match))


class RetrievalHandler:
    """C-MOVE and C-GET (PS3.4 C.4.2 and C.4.3).  What is sent is fixed when the request is read."""

    def __init__(
        self,
        *,
        catalog: CatalogReader,
        store: BlobStore,
        converter: Converter,
        nodes: NodeRules,
        associate: Associate,
        pending_seconds: float = PENDING_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        """Pending responses come at least `pending_seconds` apart, and where nothing ends, every
        `heartbeat_seconds`."""
        self._catalog = catalog
        self._store = store
        self._converter = converter
        self._nodes = nodes
        self._associate = associate
        self._pending_seconds = pending_seconds
        self._heartbeat_seconds = heartbeat_seconds

    def move(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Send what is selected to the node that `command` names; pending at least every 5 s.

        Raises:
            UnknownNode: no node has that AE title.
        """
        node = self._nodes.find(command.move_destination or "")
        if node is None:
            raise UnknownNode(f"no node {command.move_destination} is known")
        locations = self._locate(context, identifier)
        sender = Sender(
            node=node,
            originator=Originator(
                aet=association.info.calling_aet,
                message_id=command.message_id or 0,
                priority=command.priority or 0,
            ),
            store=self._store,
            converter=self._converter,
            associate=self._associate,
        )
        progress = Progress(total=len(locations), transfer_syntax_uid=context.transfer_syntax)
        stop = Event()
        ended = sender.send(locations, stop=stop, heartbeat=self._heartbeat_seconds)
        yield from self._responses("C-MOVE", ended, stop, progress, cancelled)

    def get(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Send what is selected back over the same association.

        Between two objects a pending response comes at least every 5 s; while one is being sent nothing
        else may be said (PS3.7 9.3.3), and its own bytes tell that the association lives.
        """
        locations = self._locate(context, identifier)
        progress = Progress(total=len(locations), transfer_syntax_uid=context.transfer_syntax)
        stop = Event()
        ended = self._send_back(association, locations, stop)
        yield from self._responses("C-GET", ended, stop, progress, cancelled)

    def _locate(self, context: AcceptedContext, identifier: bytes) -> Sequence[Location]:
        levels = levels_of(context.abstract_syntax)
        return self._catalog.locate(selection(identifier, context.transfer_syntax, levels))

    def _send_back(
        self, association: Association, locations: Iterable[Location], stop: Event
    ) -> Generator[Ended | None, None, None]:
        # The order of a requestor's contexts is no preference: an original goes as it is where it can.
        contexts = association.info.contexts.values()
        receiver = Receiver(sorted(contexts, key=lambda context: context.transfer_syntax in RENDERED_IN))

        def store(outgoing: Outgoing) -> StoreOutcome:
            return association.store(
                context=receiver.context(outgoing),
                sop_class_uid=outgoing.location.sop_class_uid,
                sop_instance_uid=outgoing.location.key.sop_instance_uid,
                chunks=outgoing.chunks,
                length=outgoing.length,
            )

        with ReadAhead(locations, receiver.accepted, self._store, self._converter, reuse=True) as opened:
            while not stop.is_set():
                if not opened.wait(self._heartbeat_seconds):
                    yield None
                elif (outgoing := next(opened, None)) is None:
                    return
                else:
                    yield store_one(outgoing, store)

    def _responses(
        self,
        service: str,
        ended: Generator[Ended | None, None, None],
        stop: Event,
        progress: Progress,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Pending responses while instances end, and the last one.

        After a cancel the sub-operations that run are waited for and counted, and no other begins.
        """
        started = time.monotonic()
        pace = Pace(self._pending_seconds)
        with closing(ended):
            for one in ended:
                if one is not None:
                    progress.count(one)
                if cancelled():
                    stop.set()
                elif one is None or pace.is_due():
                    yield progress.pending()
        _log.info(
            "retrieved",
            service=service,
            instances=progress.total,
            remaining=progress.remaining,
            failed=progress.failed,
            reasons=dict(progress.reasons),
            duration_ms=round((time.monotonic() - started) * 1000),
        )
        yield progress.cancelled() if stop.is_set() else progress.final()
