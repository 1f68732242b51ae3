"""Conflicts of identity over REST and as pages."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from services.common.catalog.conflict_words import WORDS
from services.common.catalog.conflicts import Conflict, ConflictKind, InstanceVersions, StudyInConflict
from tests.fakes.web_archive import WebArchive

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
JANE = StudyInConflict(
    study_instance_uid="1.2.3",
    issuer="WEST",
    patient_id="P1",
    patient_name="Doe^Jane",
    birth_date="19700101",
    sex="F",
    stated_birth_dates=("19700101",),
    stated_sexes=("F",),
    study_date="20240131",
    description="Chest",
    instances=1200,
)


def conflict(kind: ConflictKind, *studies: StudyInConflict, subject: str = "1.2.3") -> Conflict:
    return Conflict(kind=kind, subject=subject, studies=studies, number_of_studies=len(studies))


@pytest.fixture
def web() -> WebArchive:
    return WebArchive()


def test_an_archive_without_conflicts_says_so(web: WebArchive) -> None:
    assert "No conflicts" in web.get("/conflicts").text
    assert web.get("/conflicts/count").text.strip() == ""
    assert "are no conflicts of this kind" in web.get("/conflicts/versions").text
    assert [kind["number"] for kind in web.ask("GET", "/api/conflicts").json()] == [0] * len(ConflictKind)


@pytest.mark.parametrize("kind", ConflictKind)
def test_every_kind_is_explained_and_leads_to_its_studies(web: WebArchive, kind: ConflictKind) -> None:
    web.conflicts.found = [conflict(kind, JANE, replace(JANE, study_instance_uid="1.2.4", sex="M"))]
    for path in ("/conflicts", f"/conflicts/{kind.slug}"):
        text = web.get(path).text
        assert WORDS[kind].title in text and WORDS[kind].remedy[:40] in text
        assert 'href="/studies/1.2.3"' in text and 'href="/studies/1.2.4"' in text
        assert "Doe, Jane" in text and "Chest" in text and "1,200" in text and "P1" in text


def test_what_differs_stands_out(web: WebArchive) -> None:
    web.conflicts.found = [conflict(ConflictKind.TWO_PEOPLE, JANE, replace(JANE, sex="M"))]
    text = web.get("/conflicts/two-people").text
    assert re.findall(r'class="differs">([^<]*)', text) == ["F", "M"]
    stated = replace(JANE, stated_birth_dates=("19700101", "19700102"))
    web.conflicts.found = [conflict(ConflictKind.TWO_STATEMENTS, stated)]
    text = web.get("/conflicts/two-statements").text
    assert re.findall(r'class="differs">([^<]*)', text) == ["1970-01-01 or 1970-01-02"]


def test_images_in_several_versions_are_named(web: WebArchive) -> None:
    one = replace(
        conflict(ConflictKind.VERSIONS, JANE),
        instances=(InstanceVersions(sop_instance_uid="1.2.3.4.5", replaced=1),),
        number_of_instances=70,
    )
    web.conflicts.found = [one]
    text = web.get("/conflicts/versions").text
    assert "70 images in several versions" in text and "1.2.3.4.5" in text and "2 versions" in text
    assert "and 69 more" in text
    assert web.ask("GET", "/api/conflicts/versions").json()[0]["instances"] == [
        {"sop_instance_uid": "1.2.3.4.5", "replaced": 1}
    ]
    assert "1 study with images in several versions" in web.get("/conflicts/count").text


def test_the_study_list_counts_conflicts_of_identity(web: WebArchive) -> None:
    web.conflicts.found = [conflict(ConflictKind.TWO_PEOPLE, JANE), conflict(ConflictKind.VERSIONS, JANE)]
    assert 'data-later="/conflicts/count"' in web.get("/").text
    said = web.get("/conflicts/count").text
    assert "1 conflict of identity" in said and 'href="/conflicts"' in said and "<html" not in said


def test_conflicts_of_a_kind_are_paged(web: WebArchive) -> None:
    web.conflicts.found = [
        conflict(
            ConflictKind.SHARED_STUDY, replace(JANE, description=f"study {number}"), subject=f"{number:02}"
        )
        for number in range(60)
    ]
    assert "All 60" in web.get("/conflicts").text
    text = web.get("/conflicts/shared-study").text
    assert "study 49" in text and "study 50" not in text and "shared-study?after=49" in text
    text = web.get("/conflicts/shared-study?after=49").text
    assert "study 50" in text and "More" not in text
    found = web.ask("GET", "/api/conflicts/shared-study?after=57&limit=1").json()
    assert [one["subject"] for one in found] == ["58"]


def test_an_unknown_kind_is_not_found(web: WebArchive) -> None:
    assert web.get("/conflicts/quarrels").status_code == 404
    answer = web.ask("GET", "/api/conflicts/quarrels")
    assert answer.status_code == 404 and "two-people" in answer.json()["detail"]


def test_what_came_from_outside_is_escaped(web: WebArchive) -> None:
    fields = (
        "study_instance_uid",
        "issuer",
        "patient_id",
        "patient_name",
        "birth_date",
        "sex",
        "description",
    )
    hostile = replace(JANE, **dict.fromkeys(fields, HOSTILE), stated_sexes=(HOSTILE, "F"))
    web.conflicts.found = [conflict(kind, hostile, JANE, subject=HOSTILE) for kind in ConflictKind]
    text = web.get("/conflicts").text
    assert "alert(1)" in text and "<script>alert" not in text and "<img src=x" not in text
