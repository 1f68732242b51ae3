"""What the pages ask of a real catalog: what arrived last, and who is meant by what one types."""

from __future__ import annotations

import pytest

from services.api.admin.search import Search
from services.common.adapters.postgres import Postgres
from services.common.catalog.reader import PostgresCatalogReader
from services.common.catalog.recent import PostgresArrivals
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.model import InstanceRecord
from tests.fakes.made_records import record

PATIENTS = {
    "1.1": {"PatientName": "Müller^Jürgen", "PatientID": "MX-77", "StudyDate": "20240101"},
    "1.2": {"PatientName": "Doe^Jane Mary", "PatientID": "1234", "StudyDate": "20240131"},
    "1.3": {"PatientName": "Janeway^Kate", "PatientID": "77-MX", "AccessionNumber": "A%1"},
}


def _stored(moment: int, study: str, *, aet_number: int = 0) -> InstanceRecord:
    values = {**PATIENTS[study], "Modality": "CT", "StudyDescription": f"study {study}"}
    return record(
        3 * moment + aet_number, study=study, series=f"{study}.1", sop=f"{study}.1.{moment}", values=values
    )


@pytest.fixture
def filled(catalog: Postgres) -> Postgres:
    writer = PostgresCatalogWriter(catalog)
    writer.upsert([_stored(1, "1.1"), _stored(2, "1.2"), _stored(3, "1.3"), _stored(4, "1.1", aet_number=1)])
    return catalog


def test_the_study_that_something_came_in_for_last_is_first(filled: Postgres) -> None:
    arrived = PostgresArrivals(filled).latest(10)
    assert [study.study_instance_uid for study in arrived] == ["1.1", "1.3", "1.2"]
    first = arrived[0]
    assert first.sources == ("CT0", "CT1") and first.instances == 2
    assert (first.patient_name, first.patient_id) == ("Müller^Jürgen", "MX-77")
    assert (first.description, first.modalities) == ("study 1.1", ("CT",))
    assert first.last_received_at > arrived[1].last_received_at
    assert len(PostgresArrivals(filled).latest(2)) == 2


def test_nothing_has_arrived_in_an_empty_catalog(catalog: Postgres) -> None:
    assert PostgresArrivals(catalog).latest(10) == []


@pytest.mark.parametrize(
    ("typed", "studies"),
    [
        ({"patient": "muller"}, "1.1"),
        ({"patient": "JÜRGEN"}, "1.1"),
        ({"patient": "jane"}, "1.2 1.3"),
        ({"patient": "doe, jan"}, "1.2"),
        ({"patient": "mary"}, "1.2"),
        ({"patient": "mü"}, "1.1"),
        ({"patient": "MX"}, "1.1"),
        ({"patient": "77"}, "1.3"),
        ({"patient": "123"}, "1.2"),
        ({"patient": "*way*"}, "1.3"),
        ({"patient": "%"}, ""),
        ({"accession": "A%"}, "1.3"),
        ({"accession": "A_"}, ""),
        ({"modality": "ct"}, "1.2 1.1 1.3"),
        ({"earliest": "2024-01-15"}, "1.2"),
        ({"latest": "2024-01-15"}, "1.1"),
        ({"patient": "jane", "latest": "2024-12-31"}, "1.2"),
    ],
)
def test_studies_are_found_as_one_types(filled: Postgres, typed: dict[str, str], studies: str) -> None:
    matches = PostgresCatalogReader(filled).find(Search(**typed).query(1))
    assert [match.values["StudyInstanceUID"] for match in matches] == studies.split()
