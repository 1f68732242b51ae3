"""Patient rows: made and linked as the merged values of studies say, under the locks of families."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor

from services.common.catalog import columns
from services.common.catalog.arrivals import Family, PatientKey
from services.common.catalog.merge import NOTHING, Merged, merge
from services.common.catalog.statements import Row, as_json, query, run

_KEYWORDS = frozenset(attribute.keyword for attribute in columns.PATIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRow:
    """A patient as it was found."""

    id: int
    merged: Merged


def lock_families(cur: cursor, families: Iterable[Family]) -> None:
    """Wait until nobody else writes these identities, their studies and their series.

    The locks are taken in the order of their numbers, for two families may share one.
    """
    run(cur, "lock_families", numbers=sorted({family.lock_number for family in families}))


def lock_patients(cur: cursor, keys: Iterable[PatientKey]) -> Mapping[PatientKey, PatientRow]:
    """The rows of these patients, made where there are none."""
    wanted = {key: _key_columns(key) for key in sorted(set(keys))}
    found = {
        _key(row): PatientRow(id=row["id"], merged=_merged(row))
        for row in query(cur, "lock_patients", rows=as_json(wanted.values()))
    }
    new = [{**row, "source": NOTHING} for key, row in wanted.items() if key not in found]
    if new:
        for row in query(cur, "insert_patients", rows=as_json(new)):
            found[_key(row)] = PatientRow(id=row["id"], merged=Merged())
    return found


def add_to_patients(cur: cursor, said: Iterable[tuple[PatientRow, Merged]]) -> None:
    """Merge what studies say now into the patients that they are linked to."""
    before: dict[int, Merged] = {}
    after: dict[int, Merged] = {}
    for patient, study in said:
        before[patient.id] = patient.merged
        after[patient.id] = merge([after.get(patient.id, patient.merged), study.only(_KEYWORDS)])
    _write(cur, {number: merged for number, merged in after.items() if merged != before[number]})


def remake_patients(cur: cursor, ids: Collection[int]) -> None:
    """Make these patients anew of the studies that are linked to them; those that have none vanish."""
    said: dict[int, list[Merged]] = {}
    for row in query(cur, "studies_of_patients", ids=list(ids)):
        said.setdefault(row["patient"], []).append(_merged(row))
    _write(cur, {number: merge(studies) for number, studies in said.items()})
    run(cur, "delete_patients", ids=sorted(set(ids) - said.keys()))


def _write(cur: cursor, patients: Mapping[int, Merged]) -> None:
    rows = []
    for number in sorted(patients):
        source, older_sources = patients[number].stored_sources()
        values = columns.filled(columns.PATIENT, patients[number].values)
        rows.append({"id": number, **values, "source": source, "older_sources": older_sources})
    if rows:
        run(cur, "update_patients", rows=as_json(rows))


def _merged(row: Row) -> Merged:
    """Of a patient's row, or of the patient's part of a study's."""
    whole = Merged.loaded(columns.loaded(columns.PATIENT, row), row["source"], row["older_sources"])
    return whole.only(_KEYWORDS)


def _key_columns(key: PatientKey) -> Row:
    return {
        "issuer": key.family.issuer,
        "patient_id": key.family.patient_id,
        "anonymous_study_uid": key.family.anonymous_study_uid,
        "birth_date": key.birth_date,
        "sex": key.sex,
    }


def _key(row: Row) -> PatientKey:
    family = Family(
        issuer=row["issuer"],
        patient_id=row["patient_id"],
        anonymous_study_uid=row["anonymous_study_uid"],
    )
    return PatientKey(family=family, birth_date=row["birth_date"], sex=row["sex"])
