"""The journal in the object store: one immutable object per decision, from which a rebuild replays them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError

from services.common.errors import GantryError
from services.common.keys import Area, timed_key
from services.common.model import BlobRef, Values
from services.common.ports import BlobStat, BlobStore

_PREFIX = f"{Area.JOURNAL}/"


class MalformedEntry(GantryError):
    """An entry of the journal cannot be read, so that a rebuild would forget a decision."""


class _Entry(BaseModel):
    """What an entry's object holds."""

    v: int = 1
    kind: str
    content: dict[str, str]


class StoreJournal:
    """Entries as JSON objects under time-ordered keys; none is ever written twice."""

    def __init__(
        self, store: BlobStore, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock

    def append(self, kind: str, content: Values) -> str:
        """Write one entry durably; gives its key."""
        key = timed_key(Area.JOURNAL, self._clock(), ".json")
        writer = self._store.create(key)
        try:
            writer.write(_Entry(kind=kind, content=dict(content)).model_dump_json().encode())
            writer.commit({})
        finally:
            writer.abort()
        return key

    def entries(self, *, after: str = "") -> Iterator[tuple[str, str, Values]]:
        """Key, kind and content of every entry, in the order in which they were written.

        Raises:
            MalformedEntry: one of them cannot be read.
        """
        while page := self._store.list(_PREFIX, after=after):
            for stat in page:
                entry = self._read(stat)
                yield stat.key, entry.kind, entry.content
            after = page[-1].key

    def _read(self, stat: BlobStat) -> _Entry:
        whole = BlobRef(bucket=self._store.bucket, key=stat.key, offset=0, length=stat.size)
        with self._store.open(whole) as stream:
            try:
                return _Entry.model_validate_json(stream.readall())
            except ValidationError as exc:
                raise MalformedEntry(f"{stat.key} is no entry of the journal") from exc
