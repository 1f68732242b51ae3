"""An archive in memory behind the DIMSE handlers, and a listener for it in this process."""

from __future__ import annotations

import contextlib
import contextvars
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from services.common.dimse.acceptor import (
    Acceptance,
    AcceptedContext,
    Acceptor,
    Association,
    AssociationInfo,
    Command,
    Handlers,
    IsCancelled,
    RequestedContext,
    Response,
)
from services.common.dimse.listener import bind
from services.common.dimse.slots import AssociationSlots
from services.common.errors import UnknownNode
from services.common.ports import NodeRules
from services.common.settings import DicomSettings
from tests.waiting import PATIENCE_SECONDS


@dataclass
class Stored:
    """One object as it came."""

    command: Command
    context: AcceptedContext
    data: bytearray = field(default_factory=bytearray)


class TakesAll:
    """A policy that takes every abstract syntax in every transfer syntax."""

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        return [
            Acceptance(transfer_syntaxes=context.transfer_syntaxes, extended=context.extended)
            for context in requested
        ]


@dataclass
class MemoryArchive:
    """Keeps what it is sent; gives everything it holds to any retrieval."""

    stored: list[Stored] = field(default_factory=list)
    aborted: list[Stored] = field(default_factory=list)
    answers: Sequence[Response] = ()
    refuse_store: Callable[[Command], Exception | None] = lambda command: None
    fail_write: Exception | None = None
    associations: list[AssociationInfo] = field(default_factory=list)
    identifiers: list[bytes] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    on_answer: Callable[[int], None] = lambda index: None

    @property
    def handlers(self) -> Handlers:
        return Handlers(store=self, query=self, retrieve=self)

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> MemorySink:
        self.associations.append(association.info)
        error = self.refuse_store(command)
        if error is not None:
            raise error
        return MemorySink(self, Stored(command, context))

    def find(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        self.associations.append(association.info)
        self.identifiers.append(identifier)
        for index, answer in enumerate(self.answers):
            self.on_answer(index)
            yield answer

    def move(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        if command.move_destination != "KNOWN":
            raise UnknownNode(f"no node {command.move_destination}")
        yield Response(status=0x0000, completed=0, failed=0, warning=0)

    def get(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        objects = list(self.stored)
        failed = 0
        for done, item in enumerate(objects, start=1):
            failed += not self._send(association, item)
            over = cancelled()
            yield Response(
                status=0xFE00 if over else 0xFF00,
                remaining=len(objects) - done,
                completed=done - failed,
                failed=failed,
                warning=0,
            )
            if over:
                return
        yield Response(
            status=0xB000 if failed else 0x0000, completed=len(objects) - failed, failed=failed, warning=0
        )

    def _send(self, association: Association, item: Stored) -> bool:
        for context in association.info.contexts.values():
            if (
                context.abstract_syntax == item.command.affected_sop_class_uid
                and context.transfer_syntax == item.context.transfer_syntax
                and context.peer_receives
            ):
                view = memoryview(bytes(item.data))
                outcome = association.store(
                    context=context,
                    sop_class_uid=item.command.sop_class_uid,
                    sop_instance_uid=item.command.sop_instance_uid,
                    chunks=(view[i : i + 65536] for i in range(0, len(view), 65536)),
                    length=len(view),
                )
                self.outcomes.append(outcome.status)
                return outcome.is_success
        return False


class MemorySink:
    """One object on its way into a `MemoryArchive`."""

    def __init__(self, archive: MemoryArchive, item: Stored) -> None:
        self._archive = archive
        self._item = item

    def write(self, data: memoryview) -> None:
        if self._archive.fail_write is not None:
            raise self._archive.fail_write
        self._item.data += data

    def finish(self) -> None:
        self._archive.stored.append(self._item)

    def abort(self) -> None:
        self._archive.aborted.append(self._item)


@dataclass(frozen=True)
class Running:
    """A listener in threads of this process."""

    port: int
    acceptor: Acceptor
    slots: AssociationSlots
    thread: threading.Thread

    def connect(self) -> socket.socket:
        """A bare connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def listening(
    handlers: Handlers,
    *,
    settings: DicomSettings | None = None,
    policy: object = None,
    nodes: NodeRules | None = None,
    ssl_context: object = None,
) -> Iterator[Running]:
    """Serve `handlers` on a free port until the block ends; fails if the listener does not end by itself."""
    settings = settings or DicomSettings()
    slots = AssociationSlots(settings.maximum_associations)
    acceptor = Acceptor(
        settings=settings,
        handlers=handlers,
        policy=policy or TakesAll(),  # type: ignore[arg-type]
        nodes=nodes,
        seat=slots.seat(),
        ssl_context=ssl_context,  # type: ignore[arg-type]
    )
    sock = bind("127.0.0.1", 0)
    context = contextvars.copy_context()
    serve = partial(acceptor.serve, sock) if ssl_context is None else partial(acceptor.serve, secure=[sock])
    thread = threading.Thread(target=context.run, args=(serve,), daemon=True)
    running = Running(sock.getsockname()[1], acceptor, slots, thread)
    thread.start()
    try:
        yield running
    finally:
        acceptor.drain()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the listener did not end"
    assert slots.taken == 0, "an association kept its slot"
