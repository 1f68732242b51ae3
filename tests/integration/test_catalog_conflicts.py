"""What contradicts itself in a real catalog, and how it is told."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from services.common.adapters.postgres import Postgres
from services.common.catalog.conflicts import INSTANCES_TOLD, STUDIES_TOLD, ConflictKind, PostgresConflicts
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.model import InstanceRecord
from tests.fakes.made_records import record

JANE = {"PatientID": "1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "PatientSex": "F"}


def _of(moment: int, study: int, content: str = "", **values: str) -> InstanceRecord:
    uid = f"1.2.{study}"
    return record(
        moment, study=uid, series=f"{uid}.1", sop=f"{uid}.1.{moment}", content=content, values=JANE | values
    )


@pytest.fixture
def writer(catalog: Postgres) -> PostgresCatalogWriter:
    return PostgresCatalogWriter(catalog)


@pytest.fixture
def conflicts(catalog: Postgres) -> PostgresConflicts:
    return PostgresConflicts(catalog, kept_seconds=0)


def _told(conflicts: PostgresConflicts) -> dict[str, list[str]]:
    """The subjects by kind, of those kinds that there are."""
    found = {kind.slug: [one.subject for one in conflicts.of_kind(kind, limit=100)] for kind in ConflictKind}
    assert {kind.slug: number for kind, number in conflicts.counts().items()} == {
        slug: len(subjects) for slug, subjects in found.items()
    }
    return {slug: subjects for slug, subjects in found.items() if subjects}


def test_nothing_contradicts_itself_in_studies_of_one_patient(
    writer: PostgresCatalogWriter, conflicts: PostgresConflicts
) -> None:
    unsaid = {"PatientBirthDate": "", "PatientSex": "", "PatientName": ""}
    writer.upsert([_of(1, 1), _of(2, 1), _of(3, 2, PatientName="DOE^JANE^^=漢字"), _of(4, 3, **unsaid)])
    writer.upsert([_of(1, 1)])
    assert _told(conflicts) == {}


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ({"PatientBirthDate": "19800101"}, ConflictKind.TWO_PEOPLE),
        ({"PatientSex": "M"}, ConflictKind.TWO_PEOPLE),
        ({"PatientSex": "M", "PatientName": "Roe^Richard"}, ConflictKind.TWO_PEOPLE),
        ({"PatientName": "Roe^Jane"}, ConflictKind.TWO_NAMES),
    ],
)
def test_one_patient_id_for_two_people_or_names(
    other: dict[str, str], kind: ConflictKind, writer: PostgresCatalogWriter, conflicts: PostgresConflicts
) -> None:
    writer.upsert([_of(1, 1), _of(2, 2, **other), _of(3, 3, PatientID="2", **other)])
    assert _told(conflicts) == {kind.slug: ["|1"]}
    (one,) = conflicts.of_kind(kind, limit=10)
    assert [study.study_instance_uid for study in one.studies] == ["1.2.1", "1.2.2"]
    assert one.number_of_studies == 2 and one.instances == ()
    first, second = one.studies
    assert (first.patient_name, first.birth_date, first.sex) == ("Doe^Jane", "19700101", "F")
    assert other.get("PatientSex", "F") == second.sex


def test_the_studies_that_are_told_show_every_statement_first(
    writer: PostgresCatalogWriter, conflicts: PostgresConflicts
) -> None:
    many = STUDIES_TOLD + 5
    writer.upsert([_of(number, number) for number in range(1, many)] + [_of(many, many, PatientSex="M")])
    (one,) = conflicts.of_kind(ConflictKind.TWO_PEOPLE, limit=10)
    assert one.number_of_studies == many and len(one.studies) == STUDIES_TOLD
    assert {study.sex for study in one.studies[:2]} == {"F", "M"}


def test_a_study_under_two_patients_and_one_that_states_its_patient_in_two_ways(
    writer: PostgresCatalogWriter, conflicts: PostgresConflicts
) -> None:
    writer.upsert([_of(1, 1), _of(2, 1, PatientID="2"), _of(3, 5, PatientID="3"), _of(4, 5, PatientID="3")])
    writer.upsert([_of(5, 5, PatientID="3", PatientBirthDate="1980")])
    assert _told(conflicts) == {"shared-study": ["1.2.1"], "two-statements": ["1.2.5"]}
    (shared,) = conflicts.of_kind(ConflictKind.SHARED_STUDY, limit=10)
    assert [study.patient_id for study in shared.studies] == ["1", "2"]
    (stated,) = conflicts.of_kind(ConflictKind.TWO_STATEMENTS, limit=10)
    assert stated.studies[0].stated_birth_dates == ("19700101", "1980")


def test_instances_that_came_with_other_bytes_are_told_by_their_study(
    writer: PostgresCatalogWriter, conflicts: PostgresConflicts
) -> None:
    def sent(moment: int, sop: str, content: str) -> InstanceRecord:
        return record(moment, study="1.2.1", series="1.2.1.1", sop=sop, content=content, values=JANE)

    many = INSTANCES_TOLD + 2
    writer.upsert([sent(number, f"1.9.{number}", "old") for number in range(1, many)])
    writer.upsert([sent(many + number, f"1.9.{number}", "new") for number in range(1, many)])
    writer.upsert(
        [sent(3 * many, "1.9.1", "newest"), sent(3 * many + 1, "1.8", ""), sent(3 * many + 2, "1.8", "")]
    )
    assert _told(conflicts) == {"versions": ["1.2.1"]}
    (one,) = conflicts.of_kind(ConflictKind.VERSIONS, limit=10)
    assert one.number_of_instances == many - 1 and len(one.instances) == INSTANCES_TOLD
    assert {version.sop_instance_uid: version.replaced for version in one.instances}["1.9.1"] == 2
    assert "1.8" not in {version.sop_instance_uid for version in one.instances}


def test_conflicts_are_told_by_pages(writer: PostgresCatalogWriter, conflicts: PostgresConflicts) -> None:
    writer.upsert([_of(n, n, PatientID=f"{n % 5}", PatientSex="F" if n % 2 else "M") for n in range(20)])
    every = [one.subject for one in conflicts.of_kind(ConflictKind.TWO_PEOPLE, limit=100)]
    assert every == ["|0", "|1", "|2", "|3", "|4"]
    paged: list[str] = []
    while page := conflicts.of_kind(ConflictKind.TWO_PEOPLE, after=paged[-1] if paged else "", limit=2):
        paged += [one.subject for one in page]
    assert paged == every


def test_counts_are_kept_for_a_while(catalog: Postgres, writer: PostgresCatalogWriter) -> None:
    keeping = PostgresConflicts(catalog)
    assert sum(keeping.counts().values()) == 0
    writer.upsert([_of(1, 1), _of(2, 2, PatientSex="M")])
    assert sum(keeping.counts().values()) == 0
    assert sum(PostgresConflicts(catalog).counts().values()) == 1


def test_instances_that_later_bytes_take_elsewhere_are_logged_without_patient_data(
    writer: PostgresCatalogWriter,
) -> None:
    def sent(moment: int, sop: str, study: str, content: str, **values: str) -> InstanceRecord:
        return record(moment, sop=sop, study=study, series="1.3", content=content, values=JANE | values)

    came = [sent(1, "1.1", "1.2", "old"), sent(2, "1.2", "1.2", "old"), sent(3, "1.3", "1.2", "old")]
    replaced = [
        sent(4, "1.1", "1.2", "new", PatientID="SECRET"),
        sent(5, "1.2", "1.9", "new"),
        sent(6, "1.3", "1.2", "new"),
    ]
    with capture_logs() as lines:
        writer.upsert(came)
        writer.upsert(came)
    assert lines == []
    with capture_logs() as lines:
        writer.upsert(replaced)
        writer.upsert(replaced)
    assert lines == [
        {
            "event": "instances_moved",
            "log_level": "warning",
            "to_another_patient": 1,
            "to_another_study": 1,
            "sop_instance_uids": ["1.1", "1.2"],
            "digests_before": [one.stored.digests.data_set for one in came[:2]],
            "digests_now": [one.stored.digests.data_set for one in replaced[:2]],
        }
    ]
