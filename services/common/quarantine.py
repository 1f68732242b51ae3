"""The quarantine in the object store alone, so that it works with the catalog and the queue down.

An entry is ``quarantine/<entry id>.json``; the bytes it may hold lie where its `blob` says.  Behind all
entries is noted by digest which of them holds certain bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from pydantic import TypeAdapter, ValidationError

from services.common import logs
from services.common.errors import BlobMissing, NotFound
from services.common.keys import Area, entry_key, held_digest_key, is_entry_id
from services.common.model import BlobRef, QuarantineEntry
from services.common.ports import BlobStat, BlobStore

_log = logs.get(__name__)

_ENTRY = TypeAdapter(QuarantineEntry)
_PREFIX = f"{Area.QUARANTINE}/"
_SUFFIX = ".json"
_BEHIND = held_digest_key("")
"""Greater than every entry's key."""


class StoreQuarantine:
    """Entries as JSON objects, named by time."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def hold(self, entry: QuarantineEntry) -> None:
        """Keep the entry durably."""
        self._put(entry_key(entry.entry_id), _ENTRY.dump_json(entry))
        if entry.digest:
            self._put(held_digest_key(entry.digest), entry.entry_id.encode("ascii"))

    def entries(self, *, after: str = "", limit: int = 100) -> Sequence[QuarantineEntry]:
        """Entries in order of their ids; one that another takes out meanwhile is left out."""
        return list(islice(self._readable(after), limit))

    def get(self, entry_id: str) -> QuarantineEntry:
        """One entry.

        Raises:
            NotFound: there is none of that id.
        """
        if not is_entry_id(entry_id):
            raise NotFound("an entry of the quarantine is named by 32 hex digits")
        try:
            return self._read(self._store.stat(entry_key(entry_id)))
        except (BlobMissing, ValidationError) as exc:
            raise NotFound(f"the quarantine holds no entry {entry_id}") from exc

    def holding(self, digest: str) -> QuarantineEntry | None:
        """The entry held last for bytes of that digest, if there is one."""
        try:
            noted = self._content(self._store.stat(held_digest_key(digest)))
            return self.get(noted.decode("ascii", "replace"))
        except (BlobMissing, NotFound):
            return None

    def release(self, entry_id: str) -> None:
        """Forget the entry and its blob; none of that id is no error."""
        try:
            entry = self.get(entry_id)
        except NotFound:
            return
        if entry.digest and self.holding(entry.digest) == entry:
            self._store.delete(held_digest_key(entry.digest))
        if entry.blob is not None and entry.blob.key.startswith(_PREFIX):
            self._store.delete(entry.blob.key)
        self._store.delete(entry_key(entry_id))

    def _readable(self, after: str) -> Iterator[QuarantineEntry]:
        for stat in self._listed(after):
            try:
                yield self._read(stat)
            except BlobMissing:
                continue
            except ValidationError:
                _log.error("quarantine_entry_unreadable", key=stat.key)

    def _listed(self, after: str) -> Iterator[BlobStat]:
        last = entry_key(after) if after else ""
        while last < _BEHIND and (page := self._store.list(_PREFIX, after=last)):
            yield from (stat for stat in page if stat.key.endswith(_SUFFIX))
            last = page[-1].key

    def _read(self, stat: BlobStat) -> QuarantineEntry:
        return _ENTRY.validate_json(self._content(stat))

    def _content(self, stat: BlobStat) -> bytes:
        whole = BlobRef(bucket=self._store.bucket, key=stat.key, offset=0, length=stat.size)
        with self._store.open(whole) as stream:
            return stream.readall()

    def _put(self, key: str, content: bytes) -> None:
        writer = self._store.create(key)
        try:
            writer.write(content)
            writer.commit({})
        finally:
            writer.abort()
