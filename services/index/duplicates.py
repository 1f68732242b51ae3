"""Deletes originals whose very bytes are served from another blob."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.common import logs
from services.common.counts import Counter
from services.common.errors import BlobMissing
from services.common.model import Duplicate
from services.common.ports import BlobStore, Leftovers
from services.index.unindexed import GoOn

_CHUNK_BYTES = 1024 * 1024
_log = logs.get(__name__)
_DELETED = Counter(
    "gantry_duplicates_deleted_total", "Originals deleted because their bytes are kept elsewhere"
)


class Duplicates:
    """Deletes a duplicate once it is old enough and the blob that stays has proved to be whole."""

    def __init__(
        self,
        store: BlobStore,
        leftovers: Leftovers,
        *,
        after: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A duplicate is deleted no sooner than `after` seconds from its arrival."""
        self._store = store
        self._leftovers = leftovers
        self._after = timedelta(seconds=after)
        self._clock = clock

    def sweep(self, go_on: GoOn) -> None:
        """Delete what may be deleted; raises nothing for one that may not."""
        for duplicate in self._leftovers.duplicates(before=self._clock() - self._after):
            if not go_on():
                return
            if not self._stays(duplicate):
                _log.error("kept_original_damaged", key=duplicate.kept.key)
                continue
            with self._leftovers.forgetting(duplicate) as still_one:
                if still_one:
                    self._store.delete(duplicate.blob.key)
                    _DELETED.inc()
                    _log.info("duplicate_deleted", key=duplicate.blob.key, kept=duplicate.kept.key)

    def _stays(self, duplicate: Duplicate) -> bool:
        """Whether the blob that stays holds what was stored in it, and is in the same store."""
        digest = hashlib.sha256()
        try:
            with io.BufferedReader(self._store.open(duplicate.kept), _CHUNK_BYTES) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except BlobMissing:
            return False
        return (
            digest.hexdigest() == duplicate.kept_file_digest and duplicate.blob.bucket == self._store.bucket
        )
