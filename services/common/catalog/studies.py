"""Study rows and their links to patients: found or made under lock, merged in memory, written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from psycopg2.extensions import cursor

from services.common.catalog import columns
from services.common.catalog.arrivals import Arrival, PatientKey, StudyKey
from services.common.catalog.merge import NOTHING, Merged, merge
from services.common.catalog.patients import PatientRow, add_to_patients, lock_patients, remake_patients
from services.common.catalog.statements import Row, as_json, query, run


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study; `id` and `patient` are 0 as long as it has no row."""

    key: StudyKey
    id: int = 0
    patient: int = 0
    merged: Merged = field(default_factory=Merged)
    stated_birth_dates: frozenset[str] = frozenset()
    stated_sexes: frozenset[str] = frozenset()
    last_received_at: datetime

    @property
    def patient_key(self) -> PatientKey:
        """The patient whom its merged values describe."""
        values = self.merged.values
        return PatientKey(
            family=self.key.family,
            birth_date=values.get("PatientBirthDate", ""),
            sex=values.get("PatientSex", ""),
        )

    def told(self, arrivals: Sequence[Arrival]) -> StudyRow:
        """The study when these of its instances have come."""
        return replace(
            self,
            merged=merge([self.merged, *(arrival.said(columns.STUDY) for arrival in arrivals)]),
            stated_birth_dates=self.stated_birth_dates | _stated("PatientBirthDate", arrivals),
            stated_sexes=self.stated_sexes | _stated("PatientSex", arrivals),
            last_received_at=max([self.last_received_at, *(a.stored.received_at for a in arrivals)]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Studies:
    """The studies of one transaction with their patients, and the patients that a study has left."""

    rows: Mapping[StudyKey, StudyRow]
    patients: Mapping[PatientKey, PatientRow]
    left: frozenset[int]


def lock_studies(cur: cursor, arrivals: Iterable[Arrival], *, also: Iterable[int]) -> Studies:
    """Lock the studies of the arrivals, told of them, and those with the row ids `also`.

    Studies and patients that are new have rows when this returns; `write_studies` fills them.
    """
    by_study: dict[StudyKey, list[Arrival]] = {}
    for arrival in arrivals:
        by_study.setdefault(arrival.study, []).append(arrival)
    found = _lock(cur, sorted(by_study), sorted(also))
    told = {
        key: (found.get(key) or StudyRow(key=key, last_received_at=its[0].stored.received_at)).told(its)
        for key, its in by_study.items()
    }
    patients = lock_patients(cur, (study.patient_key for study in told.values()))
    linked = {key: replace(study, patient=patients[study.patient_key].id) for key, study in told.items()}
    new = _insert(cur, [linked[key] for key in sorted(linked) if key not in found])
    linked |= {key: replace(linked[key], id=number) for key, number in new.items()}
    left = frozenset(found[key].patient for key in linked if key in found) - frozenset(
        study.patient for study in linked.values()
    )
    return Studies(rows={**found, **linked}, patients=patients, left=left)


def write_studies(cur: cursor, studies: Studies) -> None:
    """Write the studies, count what is live in them, and bring their patients up to date."""
    rows = [_columns(studies.rows[key]) for key in sorted(studies.rows)]
    run(cur, "update_studies", rows=as_json(rows))
    add_to_patients(
        cur,
        (
            (studies.patients[study.patient_key], study.merged)
            for study in studies.rows.values()
            if study.patient_key in studies.patients
        ),
    )
    if studies.left:
        remake_patients(cur, studies.left)


def _stated(keyword: str, arrivals: Iterable[Arrival]) -> frozenset[str]:
    return frozenset(arrival.values[keyword] for arrival in arrivals if keyword in arrival.values)


def _lock(cur: cursor, keys: Sequence[StudyKey], ids: Sequence[int]) -> dict[StudyKey, StudyRow]:
    rows = query(
        cur,
        "lock_studies",
        study_instance_uids=[key.study_instance_uid for key in keys],
        issuers=[key.issuer for key in keys],
        patient_ids=[key.patient_id for key in keys],
        ids=ids,
    )
    return {_key(row): _loaded(row) for row in rows}


def _insert(cur: cursor, new: Sequence[StudyRow]) -> Mapping[StudyKey, int]:
    if not new:
        return {}
    rows = [
        {
            "patient": study.patient,
            "study_instance_uid": study.key.study_instance_uid,
            "issuer": study.key.issuer,
            "patient_id": study.key.patient_id,
            "source": NOTHING,
            "last_received_at": study.last_received_at,
        }
        for study in new
    ]
    return {_key(row): row["id"] for row in query(cur, "insert_studies", rows=as_json(rows))}


def _key(row: Row) -> StudyKey:
    return StudyKey(
        study_instance_uid=row["study_instance_uid"], issuer=row["issuer"], patient_id=row["patient_id"]
    )


def _loaded(row: Row) -> StudyRow:
    return StudyRow(
        key=_key(row),
        id=row["id"],
        patient=row["patient"],
        merged=Merged.loaded(columns.loaded(columns.STUDY, row), row["source"], row["older_sources"]),
        stated_birth_dates=frozenset(row["stated_birth_dates"]),
        stated_sexes=frozenset(row["stated_sexes"]),
        last_received_at=row["last_received_at"],
    )


def _columns(study: StudyRow) -> Row:
    source, older_sources = study.merged.stored_sources()
    return {
        "id": study.id,
        "patient": study.patient,
        **columns.filled(columns.STUDY, study.merged.values),
        "stated_birth_dates": sorted(study.stated_birth_dates),
        "stated_sexes": sorted(study.stated_sexes),
        "source": source,
        "older_sources": older_sources,
        "last_received_at": study.last_received_at,
    }
