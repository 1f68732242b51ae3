"""The life of one inbound connection, in a thread of its own (PS3.8 9.2: the acceptor's states)."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from services.common import logs
from services.common.dimse import acse, metrics, pdu, proxy
from services.common.dimse.acse import AssociationRequest, Rejection
from services.common.dimse.associate_pdu import APPLICATION_CONTEXT
from services.common.dimse.association import InboundAssociation
from services.common.dimse.buffers import BufferPool
from services.common.dimse.dialogue import Dialogue, ReleaseRequested
from services.common.dimse.dispatch import answer_store, dispatch
from services.common.dimse.drain import Drain
from services.common.dimse.finishing import Finishing
from services.common.dimse.handlers import Handlers
from services.common.dimse.lane import AssociationLost, Ending, Lane
from services.common.dimse.negotiation import AssociationInfo, ContextPolicy
from services.common.dimse.pdu import AbortReason, Control, PduType, ProtocolViolation
from services.common.dimse.slots import Seat
from services.common.errors import Unavailable
from services.common.ports import NodeRules
from services.common.settings import DicomSettings

_log = logs.get(__name__)

DRAIN_IDLE_SECONDS = 5.0
"""While draining, a peer that is silent between messages for so long is aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every connection of a process shares."""

    settings: DicomSettings
    handlers: Handlers
    policy: ContextPolicy
    nodes: NodeRules | None
    seat: Seat
    buffers: BufferPool
    drain: Drain
    ssl_context: ssl.SSLContext | None


class Connection:
    """From accept to close.

    `secure`: it speaks TLS.  `established`, `ended` (only our last PDU has been sent) and `closed` are
    called at those points.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        house: House,
        *,
        secure: bool,
        established: Callable[[Connection], None],
        ended: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._sock = sock
        self._address = address
        self._house = house
        self._secure = secure
        self._tls_version: str | None = None
        self._established = established
        self._ended = ended
        self._closed = closed
        self._waiting: select.poll | None = None
        self._lane: Lane | None = None
        self._association: InboundAssociation | None = None
        self._idle_timeout = house.settings.idle_timeout_seconds

    def push_out(self) -> None:
        """End the connection from another thread, which makes its own thread end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has just ended by itself

    def run(self) -> None:
        """Serve the connection to its end; raises nothing."""
        started = time.monotonic()
        try:
            ending, detail = self._converse()
            self._report(ending, detail, started)
            if self._lane is not None and ending is not Ending.VANISHED:
                self._ended(self)
                patience = 1.0 if self._house.drain.has_begun else self._house.settings.artim_timeout_seconds
                self._lane.discard_until_closed(patience)
        finally:
            if self._lane is not None:
                self._lane.close()
            self._sock.close()
            self._closed(self)

    def _converse(self) -> tuple[Ending, str]:
        """Everything up to our last PDU; gives how it ended and a word about it."""
        try:
            lane = self._lane = self._open()
            request = self._await_request(lane)
            refusal = self._refusal(request)
            if refusal is not None:
                lane.send(refusal.encode())
                return Ending.REJECTED, f"{refusal.name} {request.info.calling_aet}"
            self._serve(lane, request)
            lane.send(pdu.release_response())
            return Ending.RELEASED, ""
        except AssociationLost as exc:
            if exc.ending not in (Ending.ABORTED_BY_PEER, Ending.VANISHED) and self._lane is not None:
                self._lane.abort()
            return exc.ending, str(exc)
        except ProtocolViolation as exc:
            if self._lane is not None:
                self._lane.abort(exc.reason)
            return Ending.VIOLATION, str(exc)
        except Exception as exc:  # noqa: BLE001 - the thread ends here, its neighbours must not
            _log.exception("association_failed", error=type(exc).__name__)
            if self._lane is not None:
                self._lane.abort(AbortReason.NOT_SPECIFIED)
            return Ending.FAILED, type(exc).__name__
        finally:
            if self._association is not None:
                if self._association.finishing is not None:
                    self._association.finishing.close()
                metrics.OPEN_ASSOCIATIONS.dec()
                self._house.seat.release()

    def _open(self) -> Lane:
        """PROXY header and TLS handshake, where they are set."""
        settings = self._house.settings
        try:
            if settings.proxy_protocol:
                self._address = proxy.read_header(self._sock, settings.artim_timeout_seconds) or self._address
            if self._secure:
                self._begin_tls()
            return Lane(
                self._sock,
                network_timeout=settings.network_timeout_seconds,
                maximum_length=settings.maximum_pdu_length,
                buffers=self._house.buffers,
            )
        except (OSError, proxy.InvalidProxyHeader) as exc:
            raise AssociationLost(f"{type(exc).__name__}: {exc}", Ending.FAILED) from exc

    def _begin_tls(self) -> None:
        """The handshake, which the ARTIM time-out bounds whole."""
        assert self._house.ssl_context is not None
        self._sock.settimeout(self._house.settings.artim_timeout_seconds)
        try:
            secured = self._house.ssl_context.wrap_socket(
                self._sock, server_side=True, do_handshake_on_connect=False
            )
            self._sock = secured  # before the handshake, so that it can be pushed out of it
            secured.do_handshake()
            self._tls_version = secured.version()
        except ssl.SSLEOFError:
            raise  # a probe, which only looks whether the port is open
        except ssl.SSLError as exc:
            metrics.TLS_FAILURES.inc()
            _log.info("tls_handshake_failed", peer=_text(self._address), reason=exc.reason or str(exc))
            raise

    def _await_request(self, lane: Lane) -> AssociationRequest:
        deadline = time.monotonic() + self._house.settings.artim_timeout_seconds
        event = lane.next_event(deadline=deadline)
        if not isinstance(event, Control) or event.kind is not PduType.ASSOCIATE_RQ:
            if isinstance(event, Control) and event.kind is PduType.ABORT:
                raise AssociationLost("the peer aborted before it associated", Ending.ABORTED_BY_PEER)
            raise ProtocolViolation("no A-ASSOCIATE-RQ at first", AbortReason.UNEXPECTED_PDU)
        return acse.decode_request(event.raw, self._address)

    def _refusal(self, request: AssociationRequest) -> Rejection | None:
        """Why the association is rejected; None takes a seat for it."""
        settings, info = self._house.settings, request.info
        if not request.protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if request.application_context != APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        if settings.check_called_aet and info.called_aet != settings.ae_title.strip():
            return Rejection.CALLED_AET
        try:
            node = None if self._house.nodes is None else self._house.nodes.find(info.calling_aet)
        except Unavailable:
            return Rejection.TEMPORARY_CONGESTION
        if node is None and not settings.accept_unknown_callers:
            return Rejection.CALLING_AET
        if node is not None and node.idle_timeout_seconds is not None:
            self._idle_timeout = float(node.idle_timeout_seconds)
        if self._house.drain.has_begun:
            return Rejection.TEMPORARY_CONGESTION
        return None if self._house.seat.acquire() else Rejection.LOCAL_LIMIT

    def _serve(self, lane: Lane, request: AssociationRequest) -> None:
        """Answer the request, then every message until the peer wishes to release."""
        try:
            info, answer = acse.negotiate(
                request,
                self._house.policy,
                self._house.settings.maximum_pdu_length,
                self._house.settings.operations_window,
            )
        except BaseException:
            self._house.seat.release()
            raise
        dialogue = Dialogue(lane, info.contexts)
        association = self._association = InboundAssociation(info, dialogue, self._house.handlers)
        metrics.OPEN_ASSOCIATIONS.inc()
        if info.operations_window > 1:
            association.finishing = Finishing(info.operations_window, partial(answer_store, association))
        self._established(self)
        structlog.contextvars.bind_contextvars(calling_aet=info.calling_aet, peer=_peer(info))
        lane.peer_max_pdu = info.peer_max_pdu
        lane.send(answer)
        while not isinstance(message := dialogue.next_message(self._await_peer), ReleaseRequested):
            dispatch(association, message)
        association.settle()

    def _await_peer(self) -> None:
        """Wait between messages: for the peer, for its idle time-out, or for the drain."""
        assert self._lane is not None and self._association is not None
        drain, finishing = self._house.drain, self._association.finishing
        while not drain.has_begun:
            if self._waiting is None:
                self._waiting = select.poll()
                self._waiting.register(self._lane, select.POLLIN)
                self._waiting.register(drain, select.POLLIN)
                if finishing is not None:
                    self._waiting.register(finishing, select.POLLIN)
            ready = dict(self._waiting.poll(self._idle_timeout * 1000))
            if finishing is not None and finishing.fileno() in ready:
                finishing.answer(leave=finishing.window)
            if self._lane.fileno() in ready:
                return
            if not ready:
                raise AssociationLost("idle for too long", Ending.IDLE)
        self._association.settle()
        patience = min(DRAIN_IDLE_SECONDS, drain.seconds_left)
        if patience <= 0 or not self._lane.wait(patience):
            raise AssociationLost("this process ends", Ending.DRAINED)

    def _report(self, ending: Ending, detail: str, started: float) -> None:
        seconds = time.monotonic() - started
        if self._association is None and ending in (Ending.VANISHED, Ending.FAILED, Ending.TIMED_OUT):
            _log.debug("connection_ended", peer=_text(self._address), ending=ending.value, detail=detail)
            return
        metrics.ASSOCIATIONS.labels(ending.value).inc()
        metrics.ASSOCIATION_SECONDS.observe(seconds)
        fields: dict[str, object] = {"peer": _text(self._address), "ending": ending.value}
        if self._association is not None:
            info, tally = self._association.info, self._association.tally
            fields |= {
                "calling_aet": info.calling_aet,
                "called_aet": info.called_aet,
                "stored": tally.stored,
                "failed": tally.failed,
                "bytes": tally.bytes,
                "operations": tally.operations,
            }
        if self._tls_version is not None:
            fields["tls"] = self._tls_version
        _log.info("association_ended", **fields, detail=detail, duration_ms=round(seconds * 1000))


def _peer(info: AssociationInfo) -> str:
    return _text(info.peer_address)


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
