"""Conflicts of identity: where what came in contradicts itself, for an operator to decide."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Protocol

from services.common.adapters.postgres import Postgres
from services.common.catalog.statements import Row, query

STUDIES_TOLD = 20
INSTANCES_TOLD = 50
COUNT_KEPT_SECONDS = 60.0


class ConflictKind(StrEnum):
    """What contradicts what; the values are those of the view ``conflict``."""

    SHARED_STUDY = "study of two patients"
    TWO_PEOPLE = "one identity, two people"
    TWO_NAMES = "one identity, two names"
    TWO_STATEMENTS = "patient stated in two ways"
    VERSIONS = "instance in two versions"

    @property
    def slug(self) -> str:
        """Its name in addresses and commands."""
        return self.name.lower().replace("_", "-")


BY_SLUG: Mapping[str, ConflictKind] = {kind.slug: kind for kind in ConflictKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInConflict:
    """What a study says of whose it is; `stated_…` is all that its originals ever said."""

    study_instance_uid: str
    issuer: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    stated_birth_dates: tuple[str, ...]
    stated_sexes: tuple[str, ...]
    study_date: str
    description: str
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceVersions:
    """An instance that came with different bytes: how many others than those that are served."""

    sop_instance_uid: str
    replaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One contradiction.  `subject` is a Study Instance UID, or issuer, ``|`` and Patient ID.

    `studies` are at most `STUDIES_TOLD` of `number_of_studies`, one of each different statement first;
    `instances`, of the kind `VERSIONS` alone, at most `INSTANCES_TOLD` of `number_of_instances`.
    """

    kind: ConflictKind
    subject: str
    studies: tuple[StudyInConflict, ...]
    number_of_studies: int
    instances: tuple[InstanceVersions, ...] = ()
    number_of_instances: int = 0


class Conflicts(Protocol):
    """What contradicts itself."""

    def counts(self) -> Mapping[ConflictKind, int]:
        """How many there are of every kind, up to a minute ago.

        Raises:
            Unavailable: the catalog does not answer.
        """

    def of_kind(self, kind: ConflictKind, *, after: str = "", limit: int) -> Sequence[Conflict]:
        """At most so many of a kind, by subject, behind the subject `after`.

        Raises:
            Unavailable: the catalog does not answer.
        """


class PostgresConflicts:
    """`Conflicts` from the catalog; the counts, which look at every study, are kept for a minute."""

    def __init__(self, postgres: Postgres, *, kept_seconds: float = COUNT_KEPT_SECONDS) -> None:
        self._postgres = postgres
        self._kept_seconds = kept_seconds
        self._counting = Lock()
        self._counts: Mapping[ConflictKind, int] = {}
        self._good_until = float("-inf")

    def counts(self) -> Mapping[ConflictKind, int]:
        """How many there are of every kind, up to a minute ago."""
        with self._counting:
            if time.monotonic() >= self._good_until:
                with self._postgres.transaction(read_only=True) as cur:
                    found = {row["kind"]: row["number"] for row in query(cur, "count_conflicts")}
                self._counts = {kind: found.get(kind.value, 0) for kind in ConflictKind}
                self._good_until = time.monotonic() + self._kept_seconds
            return self._counts

    def of_kind(self, kind: ConflictKind, *, after: str = "", limit: int) -> Sequence[Conflict]:
        """At most so many of a kind, by subject, behind the subject `after`."""
        with self._postgres.transaction(read_only=True) as cur:
            rows = query(
                cur, "conflicts", kind=kind.value, after=after, limit=limit, studies_told=STUDIES_TOLD
            )
            uids = [row["subject"] for row in rows] if kind is ConflictKind.VERSIONS else []
            versions = query(cur, "versions", studies=uids, told=INSTANCES_TOLD) if uids else []
        studies: dict[str, list[Row]] = {}
        for row in rows:
            studies.setdefault(row["subject"], []).append(row)
        return [_conflict(kind, its, versions) for its in studies.values()]


def _conflict(kind: ConflictKind, rows: Sequence[Row], versions: Sequence[Row]) -> Conflict:
    subject = rows[0]["subject"]
    instances = [row for row in versions if row["study_instance_uid"] == subject]
    return Conflict(
        kind=kind,
        subject=subject,
        studies=tuple(map(_study, rows)),
        number_of_studies=rows[0]["number_of_studies"],
        instances=tuple(
            InstanceVersions(sop_instance_uid=row["sop_instance_uid"], replaced=row["replaced"])
            for row in instances
        ),
        number_of_instances=instances[0]["number_of_instances"] if instances else 0,
    )


def _study(row: Row) -> StudyInConflict:
    return StudyInConflict(
        study_instance_uid=row["study_instance_uid"],
        issuer=row["issuer"],
        patient_id=row["patient_id"],
        patient_name=row["patient_name"] or "",
        birth_date=row["birth_date"] or "",
        sex=row["sex"] or "",
        stated_birth_dates=tuple(row["stated_birth_dates"]),
        stated_sexes=tuple(row["stated_sexes"]),
        study_date=row["study_date"] or "",
        description=row["study_description"] or "",
        instances=row["number_of_instances"],
    )
