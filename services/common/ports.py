"""What the use cases need from the outside world, as Protocols of two to five methods.

Every method may raise `Unavailable`; what else it raises stands in its docstring.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.events import Event
from services.common.model import (
    BlobRef,
    IndexedInstance,
    InstanceRecord,
    Location,
    Node,
    QuarantineEntry,
    Rendition,
    Values,
)
from services.common.query import Match, Query, Selection

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    """An object in the store: its size in bytes, when it was written, what was noted beside it."""

    key: str
    size: int
    modified: datetime
    metadata: Mapping[str, str]


class BlobWriter(Protocol):
    """One blob on its way in; nothing of it is visible before `commit` has returned."""

    def write(self, data: Buffer) -> None:
        """Append `data`, which the caller may reuse as soon as this returns."""

    def commit(self, metadata: Mapping[str, str]) -> BlobRef:
        """Make the blob durable and visible, with `metadata` (short ASCII) beside it."""

    def abort(self) -> None:
        """Forget the blob and leave nothing behind; harmless after `commit` or a second time."""


class BlobStore(Protocol):
    """Objects by key.  Keys are ``/``-separated printable ASCII and list in byte order."""

    def create(self, key: str) -> BlobWriter:
        """Begin a blob; a commit replaces an object of the same key whole."""

    def open(self, ref: BlobRef) -> io.RawIOBase:
        """Read exactly the bytes of `ref`, in order; a stream to be closed.

        Raises:
            BlobMissing: the object is not there, or is shorter than `ref` says.
        """

    def stat(self, key: str) -> BlobStat:
        """Size and metadata of one object.

        Raises:
            BlobMissing: the object is not there.
        """

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[BlobStat]:
        """At most `limit` objects whose key begins with `prefix` and is greater than `after`, in key
        order; `metadata` is empty here."""

    def delete(self, key: str) -> None:
        """Remove an object; none of that key is no error."""


class CatalogReader(Protocol):
    """The questions that the table of contents answers."""

    def find(self, query: Query) -> Iterator[Match]:
        """Every match, in a stable order, by keyset pages; no connection is held between pages."""

    def count(self, query: Query) -> int:
        """How many matches `find` would give, were there no limit and no offset."""

    def locate(self, selection: Selection) -> Sequence[Location]:
        """The instances selected, by study, series number, series, instance number and instance."""


class CatalogWriter(Protocol):
    """The changes that the table of contents takes.  Each is safe to repeat and to reorder."""

    def upsert(self, records: Sequence[InstanceRecord]) -> Sequence[IndexedInstance]:
        """Make instances findable, in one transaction; gives those whose served bytes are new."""

    def record_rendition(self, rendition: Rendition) -> None:
        """Note a rendition, or why there is none, beside the instance it was made from."""

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of the originals' `keys` that the catalog has never seen."""


class Attempts(Protocol):
    """How often a task was begun and never ended."""

    def begin(self, task: str, key: str) -> int:
        """Note that an attempt begins; gives its number, from 1."""

    def end(self, task: str, key: str) -> None:
        """Note that the attempt ended, well or with a reported error."""


class EventBus(Protocol):
    """Where events go."""

    def publish(self, event: Event) -> None:
        """Hand the event to the queue that `events.queue_of` names."""

    def depth(self, queue: str) -> int:
        """How many messages wait in the queue."""


class Quarantine(Protocol):
    """Where an operator sees what was refused or given up, and why."""

    def hold(self, entry: QuarantineEntry) -> None:
        """Keep the entry durably."""

    def entries(self, *, after: str = "", limit: int = 100) -> Sequence[QuarantineEntry]:
        """Entries in order of their ids."""

    def get(self, entry_id: str) -> QuarantineEntry:
        """One entry.

        Raises:
            NotFound: there is none of that id.
        """

    def release(self, entry_id: str) -> None:
        """Forget the entry and its blob, after what it holds has been taken in."""


class Journal(Protocol):
    """The immutable record of what was decided (deletes, merges, corrections, node changes)."""

    def append(self, kind: str, content: Values) -> str:
        """Write one entry durably; gives its key."""

    def entries(self, *, after: str = "") -> Iterator[tuple[str, str, Values]]:
        """Key, kind and content of every entry, in the order in which they were written."""


class NodeRules(Protocol):
    """The remote AEs that Gantry knows, as the object store has them."""

    def find(self, aet: str) -> Node | None:
        """The node of that AE title; leading and trailing spaces do not count, case does."""

    def all(self) -> Sequence[Node]:
        """Every node, by AE title."""
