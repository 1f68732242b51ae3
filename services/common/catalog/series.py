"""Series rows: found or made under lock, merged and counted in memory, written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg2.extensions import cursor

from services.common.catalog import columns
from services.common.catalog.arrivals import Arrival, SeriesKey
from services.common.catalog.headers import dictionary_of
from services.common.catalog.merge import NOTHING, Merged, merge
from services.common.catalog.statements import Row, as_json, query, run
from services.common.catalog.studies import Studies


@dataclass(slots=True, kw_only=True)
class SeriesRow:
    """A series; instances come and go while it is locked."""

    id: int
    merged: Merged
    sop_classes: set[str] = field(default_factory=set)
    number_of_instances: int = 0
    header_dictionary: bytes | None
    lost_a_class: bool = False
    """Whether `sop_classes` may hold one that is gone."""

    def add(self, sop_class_uid: str) -> None:
        """A live instance came in."""
        self.number_of_instances += 1
        self.sop_classes.add(sop_class_uid)

    def remove(self) -> None:
        """A live instance went elsewhere, or became another."""
        self.number_of_instances -= 1
        self.lost_a_class = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRows:
    """The series of one transaction: by key for those of the arrivals, all by row id."""

    by_key: Mapping[SeriesKey, SeriesRow]
    by_id: Mapping[int, SeriesRow]


def lock_series(
    cur: cursor, arrivals: Iterable[Arrival], studies: Studies, *, also: Iterable[int]
) -> SeriesRows:
    """Lock the series of the arrivals, told of them, and those with the row ids `also`.

    New ones have a row when this returns, with the header of their first arrival as dictionary;
    `write_series` fills it.
    """
    by_series: dict[SeriesKey, list[Arrival]] = {}
    for arrival in arrivals:
        by_series.setdefault(arrival.series, []).append(arrival)
    places = {(studies.rows[key.study].id, key.series_instance_uid): key for key in sorted(by_series)}
    by_key: dict[SeriesKey, SeriesRow] = {}
    by_id: dict[int, SeriesRow] = {}
    for row in query(
        cur,
        "lock_series",
        studies=[study for study, _ in places],
        series_instance_uids=[uid for _, uid in places],
        ids=sorted(also),
    ):
        by_id[row["id"]] = _loaded(row)
        key = places.get((row["study"], row["series_instance_uid"]))
        if key is not None:
            by_key[key] = by_id[row["id"]]
    new = {place: by_series[key][0] for place, key in places.items() if key not in by_key}
    for (study, uid), number in _insert(cur, new).items():
        dictionary = dictionary_of(new[study, uid].stored.header.content)
        by_id[number] = SeriesRow(id=number, merged=Merged(), header_dictionary=dictionary)
        by_key[places[study, uid]] = by_id[number]
    for key, its in by_series.items():
        by_key[key].merged = merge([by_key[key].merged, *(arrival.said(columns.SERIES) for arrival in its)])
    return SeriesRows(by_key=by_key, by_id=by_id)


def write_series(cur: cursor, series: SeriesRows) -> None:
    """Write every series; where one has lost an instance, its SOP classes are gathered anew."""
    lost = [row for row in series.by_id.values() if row.lost_a_class]
    if lost:
        run(cur, "sop_classes_of_series", ids=[row.id for row in lost])
        left: Mapping[int, Sequence[str]] = dict(cur.fetchall())
        for row in lost:
            row.sop_classes = set(left.get(row.id, ()))
    rows = [_columns(series.by_id[number]) for number in sorted(series.by_id)]
    run(cur, "update_series", rows=as_json(rows))


def _insert(cur: cursor, new: Mapping[tuple[int, str], Arrival]) -> Mapping[tuple[int, str], int]:
    if not new:
        return {}
    rows = [
        {
            "study": study,
            "series_instance_uid": uid,
            "source": NOTHING,
            "header_dictionary": dictionary_of(first.stored.header.content),
        }
        for (study, uid), first in new.items()
    ]
    inserted = query(cur, "insert_series", rows=as_json(rows))
    return {(row["study"], row["series_instance_uid"]): row["id"] for row in inserted}


def _loaded(row: Row) -> SeriesRow:
    dictionary = row["header_dictionary"]
    return SeriesRow(
        id=row["id"],
        merged=Merged.loaded(columns.loaded(columns.SERIES, row), row["source"], row["older_sources"]),
        sop_classes=set(row["sop_classes"]),
        number_of_instances=row["number_of_instances"],
        header_dictionary=None if dictionary is None else bytes(dictionary),
    )


def _columns(series: SeriesRow) -> Row:
    source, older_sources = series.merged.stored_sources()
    return {
        "id": series.id,
        **columns.filled(columns.SERIES, series.merged.values),
        "source": source,
        "older_sources": older_sources,
        "sop_classes": sorted(series.sop_classes),
        "number_of_instances": series.number_of_instances,
    }
