"""What the sweeper keeps in PostgreSQL and asks of it: watermarks, unrendered instances, duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from psycopg2.extensions import cursor

from services.common.adapters.postgres import Postgres
from services.common.catalog.statements import Row, query, run
from services.common.model import BlobRef, Duplicate, IndexedInstance, InstanceKey, Unrendered

_WINDOW = 10_000


class PostgresSweeping:
    """`Watermarks` and `Leftovers`; each method is a short transaction of its own."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def watermark(self, name: str) -> str:
        """The key last set, or nothing."""
        with self._postgres.transaction(read_only=True) as cur:
            return next((str(row["key"]) for row in query(cur, "watermark", walk=name)), "")

    def set_watermark(self, name: str, key: str) -> None:
        """Note that everything up to `key` is dealt with."""
        with self._postgres.transaction() as cur:
            run(cur, "set_watermark", walk=name, key=key)

    def unrendered(self, *, after: int | None, before: datetime) -> Unrendered:
        """Look at the next instances by number, or at the newest, for those without a rendition."""
        with self._postgres.transaction(read_only=True) as cur:
            greatest = _greatest_number(cur)
            start = max(0, greatest - _WINDOW) if after is None else after
            through = start + _WINDOW
            rows = query(cur, "unrendered", after=start, through=through, before=before)
        return Unrendered(
            instances=tuple(map(_indexed, rows)), through=min(through, greatest), more=through < greatest
        )

    def still_unrendered(self, keys: Iterable[str]) -> set[str]:
        """Those of the originals' `keys` that are served and have neither a rendition nor a refusal."""
        with self._postgres.transaction(read_only=True) as cur:
            return {str(row["key"]) for row in query(cur, "still_unrendered", keys=list(keys))}

    def duplicates(self, *, before: datetime, limit: int = 100) -> Sequence[Duplicate]:
        """Originals received before that time whose bytes are served from another blob, of a lower key."""
        with self._postgres.transaction(read_only=True) as cur:
            return [_duplicate(row) for row in query(cur, "duplicates", before=before, limit=limit)]

    @contextmanager
    def forgetting(self, duplicate: Duplicate) -> Iterator[bool]:
        """Lock the rows of a duplicate and of what is served in its place, and forget it at the end."""
        with self._postgres.transaction() as cur:
            rows = query(cur, "lock_duplicate", key=duplicate.blob.key, kept=duplicate.kept.key)
            yield bool(rows)
            if rows:
                run(cur, "forget_other_original", key=duplicate.blob.key)


def _greatest_number(cur: cursor) -> int:
    return int(query(cur, "greatest_instance")[0]["greatest"])


def _blob(row: Row, prefix: str = "") -> BlobRef:
    return BlobRef(
        bucket=row[f"{prefix}bucket"],
        key=row[f"{prefix}key"],
        offset=row[f"{prefix}offset"],
        length=row[f"{prefix}length"],
    )


def _indexed(row: Row) -> IndexedInstance:
    return IndexedInstance(
        key=InstanceKey(
            study_instance_uid=row["study_instance_uid"],
            series_instance_uid=row["series_instance_uid"],
            sop_instance_uid=row["sop_instance_uid"],
        ),
        sop_class_uid=row["sop_class_uid"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        blob=_blob(row),
        data_set_offset=row["data_set_offset"],
        data_set_digest=row["data_set_digest"],
    )


def _duplicate(row: Row) -> Duplicate:
    return Duplicate(blob=_blob(row), kept=_blob(row, "kept_"), kept_file_digest=row["kept_file_digest"])
