"""DIMSE messages over a lane: command sets assembled, data sets streamed (PS3.7 6.3.1, PS3.8 Annex E)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from services.common.dimse import messages
from services.common.dimse.handlers import StoreOutcome
from services.common.dimse.lane import AssociationLost, Ending, Lane
from services.common.dimse.messages import Command, CommandField, MalformedCommand
from services.common.dimse.negotiation import AcceptedContext
from services.common.dimse.pdu import AbortReason, Control, Event, PduType, ProtocolViolation
from services.common.errors import InvalidQuery
from services.common.ports import Buffer

MAXIMUM_IDENTIFIER_BYTES = 16 * 2**20
"""Data sets that are read whole (identifiers, action information) end here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A command set and the context it came on; its data set, if any, is read next."""

    context: AcceptedContext
    command: Command


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer has sent A-RELEASE-RQ."""


class Dialogue:
    """Messages to and from one peer; what it asks is read, and answered, in order."""

    def __init__(self, lane: Lane, contexts: Mapping[int, AcceptedContext]) -> None:
        self.lane = lane
        self._contexts = contexts
        self._parts = bytearray()
        self._parts_context = 0
        self._deferred: Message | ReleaseRequested | None = None
        self._cancelled: set[int] = set()
        self._data_context: int | None = None
        self._next_message_id = 0

    def next_message(self, idle: Callable[[], None] | None = None) -> Message | ReleaseRequested:
        """The next command set, or the wish to release.  What is left of a data set is drained first.

        `idle` is called before each wait between messages.

        Raises:
            AssociationLost: the peer aborted, vanished or fell silent.
            ProtocolViolation: what it sent is no message.
        """
        if self._deferred is not None:
            deferred, self._deferred = self._deferred, None
            return deferred
        self.drain()
        while True:
            event = self.lane.next_event(idle=None if self._parts else idle)
            message = self._assemble(event)
            if message is not None:
                return message

    def data_set(self) -> Iterator[memoryview]:
        """The fragments of the current message's data set, each valid until the next is asked for."""
        while self._data_context is not None:
            event = self.lane.next_event()
            if isinstance(event, Control):
                raise self._interrupted(event)
            if event.is_command or event.context_id != self._data_context:
                raise ProtocolViolation(
                    "a PDV of another message inside a data set", AbortReason.UNEXPECTED_PARAMETER
                )
            if event.is_last:
                self._data_context = None
            yield event.data
        self.lane.rest()

    def read_data_set(self) -> bytes:
        """The current message's data set, whole.

        Raises:
            InvalidQuery: it is longer than `MAXIMUM_IDENTIFIER_BYTES`; it has been drained.
        """
        collected = bytearray()
        for data in self.data_set():
            collected += data
            if len(collected) > MAXIMUM_IDENTIFIER_BYTES:
                self.drain()
                raise InvalidQuery(f"a data set of more than {MAXIMUM_IDENTIFIER_BYTES} bytes")
        return bytes(collected)

    def drain(self) -> None:
        """Read and forget what is left of the current message's data set."""
        for _ in self.data_set():
            pass

    def is_cancelled(self, message_id: int | None) -> bool:
        """Whether a C-CANCEL-RQ for this request has come; reads what is here and never waits.

        Raises:
            AssociationLost: the peer aborted or vanished.
        """
        while self._deferred is None and (event := self.lane.poll_event()) is not None:
            message = self._assemble(event)
            if message is not None and not self._set_aside(message):
                # Nobody may send another request now, for where there is something to cancel no
                # asynchronous operations were negotiated.  Some do: it waits its turn.
                self._deferred = message
        return message_id in self._cancelled

    def was_cancelled(self, message_id: int | None) -> bool:
        """As `is_cancelled`, of what has already been read."""
        return message_id in self._cancelled

    def forget_cancels(self) -> None:
        """The operation is over: a cancel that came too late is for nothing."""
        self._cancelled.clear()

    def send(self, context: AcceptedContext, command: Command, data_set: bytes | None = None) -> None:
        """Send a message; `data_set` goes whole."""
        self.lane.send_message(
            context.context_id,
            messages.encode(command),
            None if data_set is None else (data_set,),
            len(data_set or b""),
        )

    def send_stored(self, message: Message) -> None:
        """Answer a C-STORE-RQ with success."""
        self.lane.send_message(message.context.context_id, messages.encode_stored(message.command))

    def store(
        self, context: AcceptedContext, command: Command, chunks: Iterable[Buffer], length: int
    ) -> StoreOutcome:
        """Send a C-STORE-RQ with `length` bytes of data set and wait for its response.

        A C-CANCEL-RQ that comes meanwhile is kept for `is_cancelled`.
        """
        self.lane.send_message(context.context_id, messages.encode(command), chunks, length)
        response = self.response_to(command)
        return StoreOutcome(status=response.status or 0, comment=response.error_comment or "")

    def response_to(self, request: Command) -> Command:
        """Wait for the response to `request`; a data set that it brings is drained.

        Raises:
            AssociationLost: the peer aborted, vanished, fell silent or released instead.
            ProtocolViolation: it answered something else.
        """
        while True:
            message = self.next_message()
            if isinstance(message, ReleaseRequested):
                raise AssociationLost("the peer released in mid-operation", Ending.VANISHED)
            if self._set_aside(message):
                continue
            answer = message.command
            if (
                answer.command_field != request.command_field | 0x8000
                or answer.message_id_being_responded_to != request.message_id
                or answer.status is None
            ):
                raise ProtocolViolation(
                    f"command 0x{answer.command_field:04X} where a response was due",
                    AbortReason.UNEXPECTED_PARAMETER,
                )
            self.drain()
            return answer

    def new_message_id(self) -> int:
        """A message ID for a request of ours: 1 to 65535, then again from 1."""
        self._next_message_id = self._next_message_id % 0xFFFF + 1
        return self._next_message_id

    def _assemble(self, event: Event) -> Message | ReleaseRequested | None:
        if isinstance(event, Control):
            if event.kind is PduType.RELEASE_RQ and not self._parts:
                return ReleaseRequested()
            raise self._interrupted(event)
        if not event.is_command:
            raise ProtocolViolation("a data set without a command", AbortReason.UNEXPECTED_PARAMETER)
        if self._parts and event.context_id != self._parts_context:
            raise ProtocolViolation("a command set on two contexts", AbortReason.UNEXPECTED_PARAMETER)
        self._parts_context = event.context_id
        self._parts += event.data
        if len(self._parts) > messages.MAXIMUM_COMMAND_BYTES:
            raise ProtocolViolation("an endless command set", AbortReason.INVALID_PARAMETER_VALUE)
        if not event.is_last:
            return None
        raw = bytes(self._parts)
        self._parts.clear()
        return self._message(event.context_id, raw)

    def _message(self, context_id: int, raw: bytes) -> Message:
        context = self._contexts.get(context_id)
        if context is None:
            raise ProtocolViolation(
                f"a message on context {context_id}, which was not accepted",
                AbortReason.INVALID_PARAMETER_VALUE,
            )
        try:
            command = messages.decode(raw)
        except MalformedCommand as exc:
            raise ProtocolViolation(str(exc), AbortReason.INVALID_PARAMETER_VALUE) from exc
        self._data_context = context_id if command.has_data_set else None
        return Message(context=context, command=command)

    def _set_aside(self, message: Message | ReleaseRequested) -> bool:
        """Deal with what may come in the middle of an operation: a cancel, and an echo."""
        if isinstance(message, ReleaseRequested):
            return False
        command = message.command
        if command.command_field == CommandField.C_ECHO_RQ and not command.has_data_set:
            self.send(message.context, command.respond(0x0000))
            return True
        if command.command_field != CommandField.C_CANCEL_RQ:
            return False
        if command.message_id_being_responded_to is not None:
            self._cancelled.add(command.message_id_being_responded_to)
        return True

    def _interrupted(self, event: Control) -> AssociationLost | ProtocolViolation:
        """What a control PDU means where a message was due."""
        if event.kind is PduType.ABORT:
            self.lane.lost = True
            source, reason = event.raw[8], event.raw[9]
            return AssociationLost(
                f"the peer aborted (source {source}, reason {reason})", Ending.ABORTED_BY_PEER
            )
        return ProtocolViolation(f"{event.kind.name} out of place", AbortReason.UNEXPECTED_PDU)
