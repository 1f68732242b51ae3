"""Query strings of searches, and what they return."""

from __future__ import annotations

import pytest

from services.api.dicomweb.fields import belongs
from services.api.dicomweb.search import LARGEST_LIMIT, parse
from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidQuery
from services.common.model import Level
from services.common.query import AnyOf, Between, Condition, Equals, Like, NameLike, OneOf


def asked(level: Level, *parameters: tuple[str, str]) -> tuple[Condition, ...]:
    return parse(level, {}, parameters).query.conditions


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("PatientID", "P1", Equals),
        ("00100020", "P1", Equals),
        ("PatientID", "P*", Like),
        ("PatientName", "doe*", NameLike),
        ("StudyDate", "20240101", Equals),
        ("StudyDate", "20240101-20241231", Between),
        ("StudyTime", "10-12", Between),
        ("StudyInstanceUID", "1.2,1.3", OneOf),
        ("StudyInstanceUID", "1.2\\1.3", OneOf),
        ("ModalitiesInStudy", "CT,PT", OneOf),
        ("Modality", "CT,PT", OneOf),
        ("PatientID", "a,b", Equals),
        ("AccessionNumber", "a\\b*", AnyOf),
        ("Rows", "512", Equals),
    ],
)
def test_parameters_become_conditions(name: str, value: str, kind: type[Condition]) -> None:
    (condition,) = asked(Level.STUDY, (name, value))
    assert isinstance(condition, kind)


@pytest.mark.parametrize("value", ["", "*", "**"])
def test_universal_keys_ask_for_nothing(value: str) -> None:
    search = parse(Level.STUDY, {}, [("PatientID", value)])
    assert search.query.conditions == ()
    assert BY_KEYWORD["PatientID"] in search.columns


@pytest.mark.parametrize(
    "parameter",
    [
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "9" * 5000),
        ("offset", "1.5"),
        ("offset", "\u0661"),
        ("offset", " 1"),
        ("StudyDate", "2024"),
        ("StudyDate", "20240132"),
        ("StudyTime", "25"),
        ("StudyInstanceUID", "abc"),
        ("Rows", "many"),
        ("Nonsense", "1"),
        ("PatientID.\r\nX-Injected", "1"),
        ("0010002", "1"),
        ("", "1"),
        ("includefield", "Nonsense"),
        ("includefield", "00100020,zz"),
    ],
)
def test_broken_parameters_are_refused(parameter: tuple[str, str]) -> None:
    with pytest.raises(InvalidQuery):
        parse(Level.STUDY, {}, [parameter])


@pytest.mark.parametrize("uid", ["abc", "1.2\\1.3", "*", "", "1" * 65, "1.2\0", "../1"])
def test_broken_uids_in_the_path_are_refused(uid: str) -> None:
    with pytest.raises(InvalidQuery, match="StudyInstanceUID"):
        parse(Level.SERIES, {"StudyInstanceUID": uid}, [])


def test_paging_is_bounded() -> None:
    plain = parse(Level.STUDY, {}, []).query
    assert (plain.limit, plain.offset) == (LARGEST_LIMIT, 0)
    paged = parse(Level.STUDY, {}, [("limit", "999999999"), ("offset", "20"), ("offset", "30")]).query
    assert (paged.limit, paged.offset) == (LARGEST_LIMIT, 30)


def test_fuzzy_matching_holds_wherever_it_stands() -> None:
    for parameters in (
        [("PatientName", "jo do"), ("fuzzymatching", "true")],
        [("fuzzymatching", "true"), ("00100010", "jo do")],
    ):
        (condition,) = parse(Level.STUDY, {}, parameters).query.conditions
        assert isinstance(condition, NameLike)
        assert condition.words


def test_what_has_no_column_is_returned_but_not_matched_on() -> None:
    search = parse(Level.IMAGE, {}, [("ImageType", "ORIGINAL"), ("RequestAttributesSequence.00080050", "A1")])
    assert search.unsupported == ["ImageType", "RequestAttributesSequence.00080050"]
    assert search.query.conditions == ()


def test_fields_are_keywords_tags_or_all() -> None:
    search = parse(
        Level.STUDY,
        {},
        [
            ("includefield", "PatientBirthTime,00081080"),
            ("includefield", "Rows"),
            ("includefield", "00400275.00080050"),
        ],
    )
    assert BY_KEYWORD["PatientBirthTime"] in search.columns
    assert {0x00081080, 0x00280010, 0x00400275} <= set(search.others)
    assert not search.everything
    assert parse(Level.STUDY, {}, [("includefield", "all")]).everything


@pytest.mark.parametrize(
    ("level", "path", "returned", "left_out"),
    [
        (Level.STUDY, {}, "PatientName", "Modality"),
        (Level.SERIES, {"StudyInstanceUID": "1.2"}, "StudyInstanceUID", "PatientName"),
        (Level.SERIES, {}, "PatientName", "SOPInstanceUID"),
        (Level.IMAGE, {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}, "NumberOfFrames", "Modality"),
        (Level.IMAGE, {"StudyInstanceUID": "1.2"}, "Modality", "PatientName"),
        (Level.IMAGE, {}, "StudyDescription", "BodyPartExamined"),
    ],
)
def test_defaults_add_what_the_url_leaves_open(
    level: Level, path: dict[str, str], returned: str, left_out: str
) -> None:
    keywords = {attribute.keyword for attribute in parse(level, path, []).columns}
    assert returned in keywords
    assert left_out not in keywords


def test_all_of_a_study_holds_nothing_of_one_instance() -> None:
    keywords = {a.keyword for a in parse(Level.STUDY, {}, [("includefield", "all")]).columns}
    assert "SOPClassesInStudy" in keywords
    assert not keywords & {"Modality", "SOPInstanceUID", "Rows", "NumberOfPatientRelatedStudies"}
    assert belongs(0x00101010, Level.STUDY)
    assert belongs(0x00081080, Level.STUDY)
    assert not belongs(0x00080018, Level.STUDY)
    assert not belongs(0x00080070, Level.STUDY)
    assert belongs(0x00080070, Level.SERIES)
    assert belongs(0x00080018, Level.IMAGE)
