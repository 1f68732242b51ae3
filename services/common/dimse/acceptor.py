"""The acceptor: a thread for each connection of one process.  What services need is named here."""

from __future__ import annotations

import contextvars
import select
import socket
import ssl
import threading
import time
from collections.abc import Collection

from services.common import logs
from services.common.dimse import metrics
from services.common.dimse.buffers import BufferPool
from services.common.dimse.connection import Connection, House
from services.common.dimse.drain import Drain
from services.common.dimse.handlers import (
    ActionHandler,
    Association,
    Handlers,
    IsCancelled,
    QueryHandler,
    Response,
    RetrieveHandler,
    StoreHandler,
    StoreOutcome,
    StoreSink,
)
from services.common.dimse.lane import AssociationLost
from services.common.dimse.messages import Command
from services.common.dimse.negotiation import (
    Acceptance,
    AcceptedContext,
    AssociationInfo,
    ContextPolicy,
    RequestedContext,
    UserIdentity,
)
from services.common.dimse.slots import AssociationSlots, Seat
from services.common.ports import NodeRules
from services.common.settings import DicomSettings

__all__ = [
    "Acceptance",
    "AcceptedContext",
    "Acceptor",
    "ActionHandler",
    "Association",
    "AssociationInfo",
    "AssociationLost",
    "AssociationSlots",
    "Command",
    "ContextPolicy",
    "Handlers",
    "IsCancelled",
    "QueryHandler",
    "RequestedContext",
    "Response",
    "RetrieveHandler",
    "Seat",
    "StoreHandler",
    "StoreOutcome",
    "StoreSink",
    "UserIdentity",
]

_log = logs.get(__name__)

MAXIMUM_LOBBY = 256
"""Connections of a process that have not (or no longer) an association; beyond it the oldest is closed."""

_ACCEPT_PAUSE_SECONDS = 0.05


class Acceptor:
    """Serves associations on a listening socket until it is drained."""

    def __init__(
        self,
        *,
        settings: DicomSettings,
        handlers: Handlers,
        policy: ContextPolicy,
        nodes: NodeRules | None = None,
        seat: Seat | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`nodes` tells known callers and their idle time-outs; without `seat` the limit is its own.

        `ssl_context` is for the sockets that speak TLS.
        """
        self._drain = Drain(settings.drain_seconds)
        self._house = House(
            settings=settings,
            handlers=handlers,
            policy=policy,
            nodes=nodes,
            seat=seat or AssociationSlots(settings.maximum_associations).seat(),
            buffers=BufferPool(settings.buffer_bytes),
            drain=self._drain,
            ssl_context=ssl_context,
        )
        self._lock = threading.Lock()
        self._lobby: dict[Connection, None] = {}
        self._threads: dict[Connection, threading.Thread] = {}

    def serve(self, *listening: socket.socket, secure: Collection[socket.socket] = ()) -> None:
        """Accept until `drain` is called; returns when the last association has ended.

        The sockets may be shared with other processes; they are closed here when the drain begins.  Those
        in `secure` speak TLS.
        """
        sockets = {sock.fileno(): (sock, sock in secure) for sock in (*listening, *secure)}
        waiting = select.poll()
        waiting.register(self._drain, select.POLLIN)
        for sock, _ in sockets.values():
            sock.setblocking(False)
            waiting.register(sock, select.POLLIN)
        while not self._drain.has_begun:
            for descriptor, _ in waiting.poll():
                if descriptor in sockets:
                    self._accept(*sockets[descriptor])
        for sock, _ in sockets.values():
            sock.close()
        self._empty_lobby()
        while threads := self._running():
            threads[0].join()
        self._drain.close()

    def drain(self) -> None:
        """Take no new association and end those that run; returns at once, safe in a signal handler.

        One that is idle between messages for 5 s is aborted; a message that has begun gets its response.
        """
        self._drain.begin()

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called: readiness ends."""
        return self._drain.has_begun

    def _accept(self, listening: socket.socket, secure: bool) -> None:
        if self._drain.has_begun:
            return
        try:
            sock, address = listening.accept()
        except BlockingIOError:
            return  # another process was faster
        except OSError as exc:
            _log.error("accept_failed", error=str(exc))
            time.sleep(_ACCEPT_PAUSE_SECONDS)
            return
        connection = Connection(
            sock,
            (address[0], address[1]),
            self._house,
            secure=secure,
            established=self._leave_lobby,
            ended=self._enter_lobby,
            closed=self._forget,
        )
        # The context carries what is bound to every log line of this service.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(connection.run,), name="dimse", daemon=True)
        with self._lock:
            self._threads[connection] = thread
        self._enter_lobby(connection)
        try:
            thread.start()
        except RuntimeError as exc:
            _log.error("thread_failed", error=str(exc))
            self._forget(connection)
            sock.close()

    def _enter_lobby(self, connection: Connection) -> None:
        with self._lock:
            self._lobby[connection] = None
            pushed = next(iter(self._lobby)) if len(self._lobby) > MAXIMUM_LOBBY else None
            if pushed is not None:
                del self._lobby[pushed]
        if pushed is not None:
            metrics.REFUSED_CONNECTIONS.inc()
            pushed.push_out()

    def _leave_lobby(self, connection: Connection) -> None:
        with self._lock:
            self._lobby.pop(connection, None)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._lobby.pop(connection, None)
            self._threads.pop(connection, None)

    def _empty_lobby(self) -> None:
        with self._lock:
            lobby = list(self._lobby)
        for connection in lobby:
            connection.push_out()

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._threads.values())
