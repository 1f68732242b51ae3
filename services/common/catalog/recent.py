"""What arrived last, for those who look whether a modality gets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.adapters.postgres import Postgres
from services.common.catalog.statements import query


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedStudy:
    """A study by when something of it came in last.

    `sources` are the calling AE titles of all its instances; of those that came without one, the route.
    """

    study_instance_uid: str
    patient_name: str
    patient_id: str
    description: str
    modalities: tuple[str, ...]
    instances: int
    last_received_at: datetime
    sources: tuple[str, ...]


class Arrivals(Protocol):
    """What came in last."""

    def latest(self, limit: int) -> Sequence[ArrivedStudy]:
        """At most so many studies, the one that something came in for last first.

        Raises:
            Unavailable: the catalog does not answer.
        """


class PostgresArrivals:
    """`Arrivals` from the catalog."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def latest(self, limit: int) -> Sequence[ArrivedStudy]:
        """At most so many studies, the one that something came in for last first."""
        with self._postgres.transaction(read_only=True) as cur:
            rows = query(cur, "latest_arrivals", limit=limit)
        return [
            ArrivedStudy(
                study_instance_uid=row["study_instance_uid"],
                patient_name=row["patient_name"] or "",
                patient_id=row["patient_id"],
                description=row["study_description"] or "",
                modalities=tuple(row["modalities"]),
                instances=row["number_of_instances"],
                last_received_at=row["last_received_at"],
                sources=tuple(row["sources"] or ()),
            )
            for row in rows
        ]
