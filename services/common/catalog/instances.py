"""Instance rows and the originals behind them: what is served now, and what is only remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from psycopg2.extensions import cursor

from services.common.adapters.postgres import LostRace
from services.common.catalog import columns
from services.common.catalog.arrivals import Arrival, Family, StudyKey
from services.common.catalog.headers import pack_header
from services.common.catalog.merge import History, Original, history
from services.common.catalog.series import SeriesRow, SeriesRows
from services.common.catalog.statements import Row, as_json, query, run
from services.common.model import BlobRef, Digests, IndexedInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an instance is (the row ids of its series and study), whose it is, and which bytes it serves."""

    series: int
    study: int
    family: Family
    data_set_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """An instance as it was found under lock, with all its originals that are known."""

    id: int
    series: int
    past: History
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """What the arrivals change, row by row."""

    new: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    remembered: list[Row] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    """Keys of originals that were only remembered and are served now."""


def places(cur: cursor, sop_instance_uids: Sequence[str]) -> Mapping[str, Place]:
    """Where those of the instances are that have a row, by SOP instance UID."""
    run(cur, "places", sop_instance_uids=sop_instance_uids)
    return {
        sop: Place(
            series=series,
            study=study,
            family=StudyKey(study_instance_uid=uid, issuer=issuer, patient_id=patient_id).family,
            data_set_digest=digest,
        )
        for sop, series, study, uid, issuer, patient_id, digest in cur
    }


def store_instances(cur: cursor, arrivals: Iterable[Arrival], series: SeriesRows) -> list[IndexedInstance]:
    """Write the instances, and count them in and out of their series.

    Gives, of the arrivals' instances, those that serve an arrival's bytes and that nothing was derived from
    yet: those whose bytes are new, and those of an earlier delivery that ended before it told of them.

    Raises:
        LostRace: another transaction made or moved an instance after its place had been read.
    """
    by_sop: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        by_sop.setdefault(arrival.sop_instance_uid, []).append(arrival)
    found = _lock(cur, sorted(by_sop), series)
    changes = _Changes()
    indexed: dict[str, IndexedInstance] = {}
    for sop in sorted(by_sop):
        told = _take_in(by_sop[sop], found.get(sop), series, changes)
        if told is not None:
            indexed[sop] = told
    _write(cur, changes)
    run(cur, "rendered", sop_instance_uids=sorted(indexed.keys() & found.keys()))
    rendered = {sop for (sop,) in cur}
    return [told for sop, told in indexed.items() if sop not in rendered]


def _take_in(
    its: Sequence[Arrival], row: InstanceRow | None, series: SeriesRows, changes: _Changes
) -> IndexedInstance | None:
    """Note what the arrivals of one instance change; gives it if it is live and serves bytes of one of them.

    A deleted instance lives again when an original comes that is later than all that were known.
    """
    before = row.past if row else None
    past = history((arrival.original for arrival in its), serving=before)
    _remember(its[0].sop_instance_uid, before, past, changes)
    same = [arrival for arrival in its if arrival.original.content == past.served.content]
    if row is None:
        place = series.by_key[same[-1].series]
        changes.new.append(_columns(same[-1], past, place))
        place.add(same[-1].sop_class_uid)
    elif row.past.latest != past.latest:
        place = series.by_key[same[-1].series]
        changes.changed.append({"id": row.id, **_columns(same[-1], past, place)})
        if row.deleted_at is None:
            series.by_id[row.series].remove()
        place.add(same[-1].sop_class_uid)
    elif row.past.served != past.served:
        columns_now = _columns(same[-1], past, series.by_id[row.series])
        changes.changed.append({"id": row.id, **columns_now, "deleted_at": row.deleted_at})
    is_deleted = row is not None and row.past.latest == past.latest and row.deleted_at is not None
    return None if is_deleted or not same else _indexed(same[-1], past.served)


def _remember(sop_instance_uid: str, before: History | None, past: History, changes: _Changes) -> None:
    """Note which originals are no longer served, or are served now."""
    known = {original.blob.key for original in before.others} if before else set()
    now = {original.blob.key: original for original in past.others}
    changes.forgotten.extend(known - now.keys())
    changes.remembered.extend(
        {"sop_instance_uid": sop_instance_uid, **_original_columns(now[key])} for key in now.keys() - known
    )


def _write(cur: cursor, changes: _Changes) -> None:
    if changes.new:
        run(cur, "insert_instances", rows=as_json(changes.new))
        if cur.rowcount < len(changes.new):
            raise LostRace("another transaction made one of the instances")
    if changes.changed:
        run(cur, "update_instances", rows=as_json(changes.changed))
    if changes.forgotten:
        run(cur, "delete_other_originals", keys=changes.forgotten)
    if changes.remembered:
        run(cur, "insert_other_originals", rows=as_json(changes.remembered))


def _lock(cur: cursor, sop_instance_uids: Sequence[str], series: SeriesRows) -> Mapping[str, InstanceRow]:
    rows = query(cur, "lock_instances", sop_instance_uids=sop_instance_uids)
    if any(row["series"] not in series.by_id for row in rows):
        raise LostRace("another transaction made or moved one of the instances")
    others: dict[str, list[Original]] = {row["sop_instance_uid"]: [] for row in rows}
    if rows:
        for other in query(cur, "other_originals", sop_instance_uids=list(others)):
            others[other["sop_instance_uid"]].append(_original(other))
    return {
        row["sop_instance_uid"]: InstanceRow(
            id=row["id"],
            series=row["series"],
            past=History(
                served=_original(row),
                latest=UUID(row["latest"]),
                others=tuple(others[row["sop_instance_uid"]]),
            ),
            deleted_at=row["deleted_at"],
        )
        for row in rows
    }


def _original(row: Row) -> Original:
    return Original(
        blob=BlobRef(bucket=row["bucket"], key=row["key"], offset=row["offset"], length=row["length"]),
        data_set_offset=row["data_set_offset"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        digests=Digests(data_set=row["data_set_digest"].hex(), file=row["file_digest"].hex()),
        received_at=row["received_at"],
        route=row["route"],
        calling_aet=row["calling_aet"],
        called_aet=row["called_aet"],
    )


def _original_columns(original: Original) -> Row:
    return {
        "bucket": original.blob.bucket,
        "key": original.blob.key,
        "offset": original.blob.offset,
        "length": original.blob.length,
        "data_set_offset": original.data_set_offset,
        "transfer_syntax_uid": original.transfer_syntax_uid,
        "data_set_digest": bytes.fromhex(original.digests.data_set),
        "file_digest": bytes.fromhex(original.digests.file),
        "received_at": original.received_at,
        "route": original.route,
        "calling_aet": original.calling_aet,
        "called_aet": original.called_aet,
    }


def _columns(arrival: Arrival, past: History, series: SeriesRow) -> Row:
    """The instance's row: the blob that is served, and what its bytes, which the arrival holds too, say."""
    header = arrival.stored.header
    form, packed = pack_header(header.content, series.header_dictionary)
    return {
        "series": series.id,
        "sop_instance_uid": arrival.sop_instance_uid,
        "sop_class_uid": arrival.sop_class_uid,
        **columns.filled(columns.INSTANCE, arrival.values),
        **_original_columns(past.served),
        "latest": past.latest,
        "header": packed,
        "header_form": form,
        "header_version": header.version,
        "header_covers": header.covers,
        "deleted_at": None,
    }


def _indexed(arrival: Arrival, served: Original) -> IndexedInstance:
    return IndexedInstance(
        key=arrival.stored.key,
        sop_class_uid=arrival.stored.sop_class_uid,
        transfer_syntax_uid=arrival.stored.transfer_syntax_uid,
        blob=served.blob,
        data_set_offset=served.data_set_offset,
        data_set_digest=served.digests.data_set,
    )
