"""The table of contents as `services.common.ports.CatalogWriter` and `Attempts`.

Locks are taken in one order by everyone who writes: families (an advisory lock each, in the order of
their numbers), studies, patients, series, instances, each in order of its rows.  The family's lock stands for
all its patient, study and series rows, so that the first instances of a new patient wait for each other
instead of colliding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import cursor
from psycopg2.extras import Json

from services.common import logs
from services.common.adapters.postgres import Postgres, retrying
from services.common.catalog import columns
from services.common.catalog.arrivals import Arrival, arrivals
from services.common.catalog.instances import Place, places, store_instances
from services.common.catalog.patients import lock_families
from services.common.catalog.recipes import recipe_to_json
from services.common.catalog.series import lock_series, write_series
from services.common.catalog.statements import run
from services.common.catalog.studies import lock_studies, write_studies
from services.common.errors import InvalidInstance
from services.common.model import IndexedInstance, InstanceRecord, Rendition

_log = logs.get(__name__)


class PostgresCatalogWriter:
    """Writes the catalog; each method is a transaction of its own."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def upsert(self, records: Sequence[InstanceRecord]) -> Sequence[IndexedInstance]:
        """Make instances findable; gives those that serve a record's bytes and have no rendition yet.

        Raises:
            InvalidInstance: PostgreSQL refuses a value; nothing of the batch was written.
        """
        its = arrivals(records)
        if not its:
            return []

        def transact() -> _Upserted:
            with self._postgres.transaction() as cur:
                return _upsert(cur, its)

        try:
            upserted = retrying(transact)()
        except (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded) as exc:
            raise InvalidInstance(f"the catalog cannot hold a value: {exc.pgcode}") from exc
        _tell_of_moves(upserted)
        return upserted.indexed

    def record_rendition(self, rendition: Rendition) -> None:
        """Note a rendition beside its instance; nothing happens where there is no such instance.

        It is given out only while the original that it names is the one which is served.
        """
        blob = rendition.blob
        with self._postgres.transaction() as cur:
            run(
                cur,
                "record_rendition",
                sop_instance_uid=columns.identity(rendition.sop_instance_uid),
                source_digest=bytes.fromhex(rendition.source_digest),
                source_transfer_syntax_uid=columns.identity(rendition.source_transfer_syntax_uid),
                kind=rendition.kind.value,
                transfer_syntax_uid=rendition.transfer_syntax_uid,
                bucket=blob and blob.bucket,
                key=blob and blob.key,
                offset=blob and blob.offset,
                length=blob and blob.length,
                file_length=rendition.file_length if blob else None,
                data_set_offset=rendition.data_set_offset if blob else None,
                digest=bytes.fromhex(rendition.digest) if rendition.digest else None,
                recipe=Json(recipe_to_json(rendition.recipe)) if rendition.recipe else None,
                refusal=None if blob else columns.text(rendition.refusal),
            )

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of the originals' `keys` that the catalog has never seen."""
        wanted = set(keys)
        with self._postgres.transaction(read_only=True) as cur:
            run(cur, "known_keys", keys=sorted(wanted))
            return wanted - {key for (key,) in cur}

    def begin(self, task: str, key: str) -> int:
        """Note that an attempt begins; gives its number, from 1."""
        with self._postgres.transaction() as cur:
            run(cur, "begin_attempt", task=task, key=key)
            row = cur.fetchone()
        if row is None:
            raise AssertionError("an upsert gives its row")
        return int(row[0])

    def end(self, task: str, key: str) -> None:
        """Forget the attempts of a task that ended."""
        with self._postgres.transaction() as cur:
            run(cur, "end_attempt", task=task, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upserted:
    """What a batch did; of its instances that had been there, where they were and where they are."""

    indexed: Sequence[IndexedInstance]
    before: Mapping[str, Place]
    now: Mapping[str, Place]


def _upsert(cur: cursor, its: Sequence[Arrival]) -> _Upserted:
    """One batch.  An instance that moves to another series locks its old series and study as well."""
    before = places(cur, sorted({arrival.sop_instance_uid for arrival in its}))
    families = {arrival.study.family for arrival in its} | {place.family for place in before.values()}
    lock_families(cur, families)
    studies = lock_studies(cur, its, also={place.study for place in before.values()})
    series = lock_series(cur, its, studies, also={place.series for place in before.values()})
    indexed = store_instances(cur, its, series)
    write_series(cur, series)
    write_studies(cur, studies)
    return _Upserted(indexed=indexed, before=before, now=places(cur, sorted(before)) if before else {})


def _tell_of_moves(upserted: _Upserted) -> None:
    """Log which instances later bytes have taken to another patient or study."""
    moves = [
        (sop, was, now)
        for sop, was in upserted.before.items()
        if (now := upserted.now.get(sop)) is not None and now.study != was.study
    ]
    if moves:
        _log.warning(
            "instances_moved",
            to_another_patient=sum(now.family != was.family for _, was, now in moves),
            to_another_study=sum(now.family == was.family for _, was, now in moves),
            sop_instance_uids=[sop for sop, _, _ in moves],
            digests_before=[was.data_set_digest for _, was, _ in moves],
            digests_now=[now.data_set_digest for _, _, now in moves],
        )
