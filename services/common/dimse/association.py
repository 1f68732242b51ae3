"""An established association on the accepting side: what handlers see of it, and its bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.common.dimse.dialogue import Dialogue, Message
from services.common.dimse.finishing import Finishing
from services.common.dimse.handlers import Handlers, Response, StoreOutcome
from services.common.dimse.messages import Command, CommandField
from services.common.dimse.negotiation import AcceptedContext, AssociationInfo
from services.common.errors import NotAcceptable
from services.common.ports import Buffer


@dataclass(slots=True)
class Tally:
    """What an association did, for its log line."""

    stored: int = 0
    failed: int = 0
    bytes: int = 0
    operations: int = 0

    def count_store(self, *, stored: bool) -> None:
        """One C-STORE was answered, with success or not."""
        if stored:
            self.stored += 1
        else:
            self.failed += 1


class InboundAssociation:
    """The association that a request came on (`handlers.Association`)."""

    def __init__(self, info: AssociationInfo, dialogue: Dialogue, handlers: Handlers) -> None:
        self._info = info
        self.dialogue = dialogue
        self.handlers = handlers
        self.tally = Tally()
        self.finishing: Finishing | None = None

    @property
    def info(self) -> AssociationInfo:
        """Who the peer is and what was negotiated."""
        return self._info

    def settle(self) -> None:
        """Answer everything that has been asked; waits for it."""
        if self.finishing is not None:
            self.finishing.answer(leave=0)

    def respond(self, message: Message, response: Response) -> None:
        """Answer the request in `message`."""
        command = message.command.respond(
            response.status,
            has_data_set=response.identifier is not None,
            comment=response.comment,
            offending_elements=response.offending_elements,
            remaining=response.remaining,
            completed=response.completed,
            failed=response.failed,
            warning=response.warning,
        )
        self.dialogue.send(message.context, command, response.identifier)

    def store(
        self,
        *,
        context: AcceptedContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        chunks: Iterable[Buffer],
        length: int,
    ) -> StoreOutcome:
        """Send one object to the peer as a sub-operation of its C-GET (see `handlers.Association`)."""
        if not context.peer_receives:
            raise NotAcceptable(f"the peer refuses to receive on context {context.context_id}")
        command = Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=self.dialogue.new_message_id(),
            affected_sop_class_uid=sop_class_uid,
            affected_sop_instance_uid=sop_instance_uid,
            priority=0,
            has_data_set=True,
        )
        return self.dialogue.store(context, command, chunks, length)
