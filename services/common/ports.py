"""What the use cases need from the outside world, as Protocols of two to five methods.

Every method may raise `Unavailable`; what else it raises stands in its docstring.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.events import Event
from services.common.model import (
    BlobRef,
    Duplicate,
    IndexedInstance,
    InstanceRecord,
    Location,
    Node,
    QuarantineEntry,
    Rendition,
    Unrendered,
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
    """One blob on its way in; nothing of it is visible before `commit`, nor counts before it has returned."""

    def write(self, data: Buffer) -> None:
        """Append `data`, which the caller may reuse as soon as this returns."""

    def commit(
        self, metadata: Mapping[str, str], *, key: str | None = None, sha256: str | None = None
    ) -> BlobRef:
        """Make the blob durable and visible, with `metadata` beside it: short ASCII, its names
        lower case and hyphens, its values not empty.

        `key`, where given, names it instead of the key it was begun for: what was refused at its end
        goes elsewhere.  `sha256` of all its bytes, in hex, saves an adapter that needs it the reading.
        """

    def abort(self) -> None:
        """Forget the blob and leave nothing behind; harmless after `commit` or a second time."""


class BlobReader(Protocol):
    """Bytes by reference: all that is needed to give instances out."""

    def open(self, ref: BlobRef) -> io.RawIOBase:
        """Read exactly the bytes of `ref`, in order; a stream to be closed.

        Raises:
            BlobMissing: the object is not there, or is shorter than `ref` says.
        """


class BlobStore(Protocol):
    """Objects by key.  Keys are ``/``-separated printable ASCII and list in byte order."""

    @property
    def bucket(self) -> str:
        """Where `create` puts blobs, and `stat`, `list` and `delete` look for them."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedDataSet:
    """A data set on its way out: `length` bytes in pieces, which are read once and then closed."""

    length: int
    pieces: Generator[Buffer, None, None]


class Converter(Protocol):
    """Makes uncompressed data sets of stored ones."""

    def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
        """The original in Implicit or Explicit VR Little Endian; a header in `location` saves a read.

        Raises:
            NotAcceptable: no codec decodes it, or it is broken.
            BlobMissing: the original is not in the store.
        """


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
        """Make instances findable, in one transaction.

        Gives those that serve a record's bytes and that nothing was derived from yet: those whose bytes
        are new, and those of an earlier call that ended before its news got out.

        Raises:
            InvalidInstance: a record cannot be kept; none of them was.
        """

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


class Watermarks(Protocol):
    """How far walks over the object store have come, by the name of the walk."""

    def watermark(self, name: str) -> str:
        """The key last set, or nothing."""

    def set_watermark(self, name: str, key: str) -> None:
        """Note that everything up to `key` is dealt with."""


class Leftovers(Protocol):
    """What the sweeper asks of the catalog beyond `CatalogWriter.missing`."""

    def unrendered(self, *, after: int | None, before: datetime) -> Unrendered:
        """Look at some thousand instances in the order of their numbers, those with a number greater than
        `after` or (None) the newest, for those received before that time which have no rendition."""

    def still_unrendered(self, keys: Iterable[str]) -> set[str]:
        """Those of the originals' `keys` that are served and have neither a rendition nor a refusal."""

    def duplicates(self, *, before: datetime, limit: int = 100) -> Sequence[Duplicate]:
        """Originals received before that time whose bytes are served from another blob."""

    def forgetting(self, duplicate: Duplicate) -> AbstractContextManager[bool]:
        """Forget a duplicate when the block ends; tells whether it is still one, which stays so meanwhile."""


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

    def holding(self, digest: str) -> QuarantineEntry | None:
        """The entry held last for bytes of that digest, if there is one."""

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
