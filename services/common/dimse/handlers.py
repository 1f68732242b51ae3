"""What a service gives the acceptor: one handler per DIMSE service, and what each sees of the association.

A handler raises one of the kinds of `services.common.errors`; `status.py` turns it into the status
that the peer reads.  Anything else that it raises is logged as an error and answered with 0x0110.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from services.common.dimse.messages import Command
from services.common.dimse.negotiation import AcceptedContext, AssociationInfo
from services.common.ports import Buffer

IsCancelled = Callable[[], bool]
"""Whether the peer has sent a C-CANCEL-RQ for the running operation; never blocks.

It raises `AssociationLost` where the peer has aborted or gone: let it pass.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer to a request (PS3.7 9.1.2 to 9.1.4 and 10.1.4).

    A status of 0xFF00 or 0xFF01 is pending and more follow; any other ends the operation.  `identifier`
    is a data set in the transfer syntax of the context, or None for no data set.  `comment` is cut to 64
    characters of ASCII and must hold no patient data.  Counts beyond 65,535 are sent as 65,535.
    """

    status: int
    identifier: bytes | None = None
    comment: str = ""
    offending_elements: tuple[int, ...] = ()
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutcome:
    """What the receiver of a C-STORE answered."""

    status: int
    comment: str = ""

    @property
    def is_success(self) -> bool:
        """The object is stored as it is (0x0000)."""
        return self.status == 0x0000

    @property
    def is_warning(self) -> bool:
        """The object is stored with a remark (PS3.4 GG.4.1: 0xBxxx, and 0x0001, 0x0107, 0x0116)."""
        return self.status >> 12 == 0xB or self.status in (0x0001, 0x0107, 0x0116)


class Association(Protocol):
    """What a handler sees of the association that its request came on."""

    @property
    def info(self) -> AssociationInfo:
        """Who the peer is and what was negotiated."""

    def store(
        self,
        *,
        context: AcceptedContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        chunks: Iterable[Buffer],
        length: int,
    ) -> StoreOutcome:
        """Send one object to the peer as a sub-operation of the running C-GET (PS3.4 C.4.3).

        `chunks` are the encoded data set, `length` bytes altogether; a chunk may be reused once the
        next is asked for.  Where `chunks` raises or ends early the association is aborted, for a data
        set cannot be taken back once it has begun.

        Raises:
            NotAcceptable: the peer has refused to receive on this context (SCP role 0).
            AssociationLost: the peer aborted, vanished or fell silent.
        """


class StoreSink(Protocol):
    """One object on its way in.  `abort` follows any exception, and an association that is lost."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set; `data` is overwritten after this returns."""

    def finish(self) -> None:
        """Make the object durable; success (0x0000) is answered after this has returned."""

    def abort(self) -> None:
        """Forget the object and leave nothing behind."""


class StoreHandler(Protocol):
    """C-STORE (PS3.4 Annex B)."""

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> StoreSink:
        """Open a sink for the object that `command` announces; it may refuse by raising."""


class QueryHandler(Protocol):
    """C-FIND (PS3.4 C.4.1)."""

    def find(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Yield pending responses; the end is answered with 0x0000 and a cancel with 0xFE00 by itself."""


class RetrieveHandler(Protocol):
    """C-MOVE and C-GET (PS3.4 C.4.2 and C.4.3).

    Both yield pending responses with counts as sub-operations end, and as their last the final one.
    When `cancelled()` is true they yield a final 0xFE00 with what remained.
    """

    def move(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Send what `identifier` selects to `command.move_destination`."""

    def get(
        self,
        association: Association,
        command: Command,
        context: AcceptedContext,
        identifier: bytes,
        cancelled: IsCancelled,
    ) -> Iterator[Response]:
        """Send what `identifier` selects by `association.store`."""


class ActionHandler(Protocol):
    """N-ACTION (PS3.7 10.1.4), such as a request for storage commitment (PS3.4 J.3.2)."""

    def action(
        self, association: Association, command: Command, context: AcceptedContext, information: bytes
    ) -> Response:
        """Do what `command.action_type_id` says; `information` is empty where none came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """What a listener serves.  C-ECHO is built in; a service left out is answered with 0x0211."""

    store: StoreHandler | None = None
    query: QueryHandler | None = None
    retrieve: RetrieveHandler | None = None
    action: ActionHandler | None = None


def pending(status: int) -> bool:
    """Whether more responses follow one of this status (PS3.7 C.1.3)."""
    return status in (0xFF00, 0xFF01)
