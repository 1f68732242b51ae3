"""The requestor: associations that Gantry opens, to send objects to a node or to see that it answers.

It is made of the same framing, lane and dialogue as the acceptor, so that data goes out by `sendmsg`
of views and every wait is bounded.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

from services.common.dimse import acse, pdu
from services.common.dimse.dialogue import Dialogue
from services.common.dimse.handlers import StoreOutcome
from services.common.dimse.lane import AssociationLost, Ending, Lane
from services.common.dimse.messages import Command, CommandField
from services.common.dimse.negotiation import AcceptedContext, AssociationInfo, RequestedContext
from services.common.dimse.pdu import AbortReason, Control, PduType, ProtocolViolation
from services.common.errors import NotAcceptable, Unavailable
from services.common.model import Node
from services.common.ports import Buffer

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_MAXIMUM_RECEIVED = 16384
"""Nothing large comes back to a sender: responses alone."""

_T = TypeVar("_T")


class AssociationRejected(Unavailable):
    """The node rejected the association."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """One abstract syntax and the transfer syntaxes offered for it, best first.

    The roles are ours, proposed by role selection where either is not None (PS3.7 D.3.3.4).
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds: to connect, to negotiate or release, and of silence in the middle of anything."""

    connect: float = 5.0
    artim: float = 30.0
    network: float = 60.0


def associate(
    node: Node,
    contexts: Sequence[ProposedContext],
    *,
    own_aet: str,
    timeouts: Timeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> OutboundAssociation:
    """Open an association with `node`, at most 128 `contexts` proposed.

    Raises:
        AssociationRejected: the node says no.
        Unavailable: it cannot be reached, or does not answer as an AE does.
        ValueError: no context, or more than 128.
    """
    if not 0 < len(contexts) <= acse.MAXIMUM_CONTEXTS:
        raise ValueError(f"an association proposes 1 to {acse.MAXIMUM_CONTEXTS} contexts")
    timeouts = timeouts or Timeouts()
    sock = _connect(node, timeouts, ssl_context)
    try:
        lane = Lane(sock, network_timeout=timeouts.network, maximum_length=_MAXIMUM_RECEIVED)
        with _protocol(lane):
            info = _negotiate(lane, node, contexts, own_aet, timeouts)
    except ValueError as exc:
        sock.close()
        raise Unavailable(f"{node.aet!r} is no AE title to ask for") from exc
    except BaseException:
        sock.close()
        raise
    lane.peer_max_pdu = info.peer_max_pdu
    return OutboundAssociation(lane, info, timeouts)


class OutboundAssociation:
    """An association that we opened.  Belongs to one thread; as a context it releases, or aborts after an
    error.

    Every method that talks may raise `AssociationLost`, an `Unavailable`, after which all is over.
    """

    def __init__(self, lane: Lane, info: AssociationInfo, timeouts: Timeouts) -> None:
        self._lane = lane
        self._dialogue = Dialogue(lane, info.contexts)
        self._timeouts = timeouts
        self.info = info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    @property
    def is_over(self) -> bool:
        """Whether the association was lost, aborted or released."""
        return self._lane.lost

    def contexts_for(self, abstract_syntax: str) -> Iterator[AcceptedContext]:
        """The contexts that the node accepted for a SOP class, in the order proposed."""
        return (c for c in self.info.contexts.values() if c.abstract_syntax == abstract_syntax)

    def echo(self) -> int:
        """C-ECHO: the status that the node answers.

        Raises:
            NotAcceptable: it did not accept Verification.
        """
        context = next(self.contexts_for(VERIFICATION), None)
        if context is None:
            raise NotAcceptable(f"{self.info.called_aet} does not accept Verification")
        command = Command(
            command_field=CommandField.C_ECHO_RQ,
            message_id=self._dialogue.new_message_id(),
            affected_sop_class_uid=VERIFICATION,
        )

        def ask() -> int:
            self._dialogue.send(context, command)
            return self._dialogue.response_to(command).status or 0

        return self._talk(ask)

    def store(
        self,
        *,
        context: AcceptedContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        chunks: Iterable[Buffer],
        length: int,
        priority: int = 0,
        move_originator_aet: str | None = None,
        move_originator_message_id: int | None = None,
    ) -> StoreOutcome:
        """C-STORE a data set of `length` bytes in the context's transfer syntax; gives what was answered.

        A chunk may be reused once the next is asked for.  Where `chunks` raises, its error passes and
        the association is aborted: a data set cannot be taken back once it has begun.
        """
        command = Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=self._dialogue.new_message_id(),
            affected_sop_class_uid=sop_class_uid,
            affected_sop_instance_uid=sop_instance_uid,
            priority=priority,
            has_data_set=True,
            move_originator_aet=move_originator_aet,
            move_originator_message_id=move_originator_message_id,
        )
        return self._talk(lambda: self._dialogue.store(context, command, chunks, length))

    def release(self) -> None:
        """Release and close.  A node that does not answer the release changes nothing that was stored."""
        try:
            if not self._lane.lost:
                self._release()
        except (AssociationLost, ProtocolViolation):
            self._lane.abort()
        finally:
            self._lane.lost = True
            self._lane.close()

    def abort(self) -> None:
        """Abort and close; harmless after `release` or a second time."""
        if not self._lane.lost:
            self._lane.abort()
        self._lane.close()

    def _talk(self, exchange: Callable[[], _T]) -> _T:
        with _protocol(self._lane):
            return exchange()

    def _release(self) -> None:
        self._lane.send(pdu.release_request())
        deadline = time.monotonic() + self._timeouts.artim
        while True:
            event = self._lane.next_event(deadline=deadline)
            if not isinstance(event, Control):
                continue  # data that was under way means nothing any more
            if event.kind is PduType.RELEASE_RQ:
                # Both asked at once (PS3.8 7.2.2): the requestor answers first, then gets its answer.
                self._lane.send(pdu.release_response())
                continue
            return


def _connect(node: Node, timeouts: Timeouts, ssl_context: ssl.SSLContext | None) -> socket.socket:
    try:
        sock = socket.create_connection((node.host, node.port), timeout=timeouts.connect)
    except OSError as exc:
        raise Unavailable(f"{node.aet} at {node.host}:{node.port} cannot be reached: {exc}") from exc
    if ssl_context is None:
        sock.settimeout(None)
        return sock
    try:
        sock.settimeout(timeouts.artim)
        return ssl_context.wrap_socket(sock, server_hostname=node.host)
    except OSError as exc:
        sock.close()
        raise Unavailable(f"no TLS with {node.aet}: {exc}") from exc


def _negotiate(
    lane: Lane, node: Node, contexts: Sequence[ProposedContext], own_aet: str, timeouts: Timeouts
) -> AssociationInfo:
    requested = [
        RequestedContext(
            context_id=2 * index + 1,
            abstract_syntax=context.abstract_syntax,
            transfer_syntaxes=context.transfer_syntaxes,
            scu_role=context.scu_role,
            scp_role=context.scp_role,
        )
        for index, context in enumerate(contexts)
    ]
    lane.send(
        acse.encode_request(
            called_aet=node.aet, calling_aet=own_aet, contexts=requested, maximum_length=_MAXIMUM_RECEIVED
        )
    )
    event = lane.next_event(deadline=time.monotonic() + timeouts.artim)
    if not isinstance(event, Control):
        raise ProtocolViolation("data before the association", AbortReason.UNEXPECTED_PDU)
    if event.kind is PduType.ASSOCIATE_RJ:
        raise AssociationRejected(f"{node.aet} rejected the association: {acse.rejection_text(event.raw)}")
    if event.kind is PduType.ABORT:
        raise AssociationLost(f"{node.aet} aborted the association request", Ending.ABORTED_BY_PEER)
    if event.kind is not PduType.ASSOCIATE_AC:
        raise ProtocolViolation(f"{event.kind.name} for an answer", AbortReason.UNEXPECTED_PDU)
    info = AssociationInfo(
        calling_aet=own_aet,
        called_aet=node.aet,
        peer_address=(node.host, node.port),
        requested=tuple(requested),
    )
    return acse.decode_answer(event.raw, {context.context_id: context for context in requested}, info)


@contextmanager
def _protocol(lane: Lane) -> Iterator[None]:
    """A node that breaks the protocol, or leaves, is a lost association to us."""
    try:
        yield
    except ProtocolViolation as exc:
        lane.abort(exc.reason)
        raise AssociationLost(f"the node broke the protocol: {exc}", Ending.VIOLATION) from exc
    except AssociationLost as exc:
        if exc.ending is Ending.TIMED_OUT:
            lane.abort()
        lane.lost = True
        raise
