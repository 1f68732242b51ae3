"""Keys to conditions, a table per subsection of PS3.4 C.2.2.2."""

from __future__ import annotations

import pytest

from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidQuery
from services.common.matching import condition, fold, time_digits, trigrams
from services.common.query import AnyOf, Between, Condition, Equals, Like, NameLike, OneOf

PATIENT_ID = BY_KEYWORD["PatientID"]
NAME = BY_KEYWORD["PatientName"]
MODALITY = BY_KEYWORD["Modality"]
MODALITIES = BY_KEYWORD["ModalitiesInStudy"]
STUDY_UID = BY_KEYWORD["StudyInstanceUID"]
STUDY_DATE = BY_KEYWORD["StudyDate"]
STUDY_TIME = BY_KEYWORD["StudyTime"]
NUMBER = BY_KEYWORD["InstanceNumber"]

RULES: list[tuple[str, str, str, Condition | None]] = [
    ("C.2.2.2.1 single value", "PatientID", "P1", Equals(attribute=PATIENT_ID, value="P1")),
    ("C.2.2.2.1 padding", "PatientID", " P1 \0", Equals(attribute=PATIENT_ID, value="P1")),
    ("C.2.2.2.1 number", "InstanceNumber", " +07", Equals(attribute=NUMBER, value="7")),
    ("C.2.2.2.1 sql is text", "PatientID", "a%_'", Equals(attribute=PATIENT_ID, value="a%_'")),
    ("C.2.2.2.2 one uid", "StudyInstanceUID", "1.2.3\0", Equals(attribute=STUDY_UID, value="1.2.3")),
    ("C.2.2.2.2 uids", "StudyInstanceUID", "1.2\\1.3 ", OneOf(attribute=STUDY_UID, values=("1.2", "1.3"))),
    ("C.2.2.2.2 gaps", "StudyInstanceUID", "\\1.2\\\\", Equals(attribute=STUDY_UID, value="1.2")),
    ("C.2.2.2.3 empty", "PatientID", "", None),
    ("C.2.2.2.3 spaces", "PatientID", "  ", None),
    ("C.2.2.2.3 star", "PatientID", "*", None),
    ("C.2.2.2.3 stars", "PatientName", "**", None),
    ("C.2.2.2.3 star date", "StudyDate", "*", None),
    ("C.2.2.2.3 star uid", "StudyInstanceUID", "*", None),
    ("C.2.2.2.3 one star of several", "Modality", "CT\\*", None),
    ("C.2.2.2.3 empty name groups", "PatientName", "^^=*=", None),
    ("C.2.2.2.4 star", "PatientID", "P*", Like(attribute=PATIENT_ID, pattern="P*")),
    ("C.2.2.2.4 question mark", "Modality", "C?", Like(attribute=MODALITY, pattern="C?")),
    (
        "C.2.2.2.5 both ends",
        "StudyDate",
        "20240101-20240131",
        Between(attribute=STUDY_DATE, low="20240101", high="20240131"),
    ),
    ("C.2.2.2.5 until", "StudyDate", "-20240131", Between(attribute=STUDY_DATE, low="", high="20240131")),
    ("C.2.2.2.5 since", "StudyDate", "20240101-", Between(attribute=STUDY_DATE, low="20240101", high="")),
    (
        "C.2.2.2.5 padding",
        "StudyDate",
        " 20240101 - ",
        Between(attribute=STUDY_DATE, low="20240101", high=""),
    ),
    ("C.2.2.2.5 open", "StudyDate", "-", None),
    ("C.2.2.2.5 one date", "StudyDate", "20240101", Equals(attribute=STUDY_DATE, value="20240101")),
    (
        "C.2.2.2.5 acr-nema",
        "StudyDate",
        "2024.01.01-",
        Between(attribute=STUDY_DATE, low="20240101", high=""),
    ),
    (
        "C.2.2.2.5 hour",
        "StudyTime",
        "10",
        Between(attribute=STUDY_TIME, low="100000000000", high="105960999999"),
    ),
    (
        "C.2.2.2.5 minutes",
        "StudyTime",
        "1030-1045",
        Between(attribute=STUDY_TIME, low="103000000000", high="104560999999"),
    ),
    (
        "C.2.2.2.5 fraction",
        "StudyTime",
        "103015.5-",
        Between(attribute=STUDY_TIME, low="103015500000", high=""),
    ),
    (
        "C.2.2.2.5 acr-nema time",
        "StudyTime",
        "-10:30:15",
        Between(attribute=STUDY_TIME, low="", high="103015999999"),
    ),
    ("C.2.2.2.7 modalities", "ModalitiesInStudy", "CT\\PT", OneOf(attribute=MODALITIES, values=("CT", "PT"))),
    (
        "C.2.2.2.7 wildcards",
        "Modality",
        "CT\\M*",
        AnyOf(
            attribute=MODALITY,
            alternatives=(Equals(attribute=MODALITY, value="CT"), Like(attribute=MODALITY, pattern="M*")),
        ),
    ),
    ("PN single value", "PatientName", "DOE^JOHN^^", NameLike(attribute=NAME, pattern="doe^john")),
    ("PN wildcard", "PatientName", "Doe^J*", NameLike(attribute=NAME, pattern="doe^j*")),
    ("PN groups", "PatientName", "=山田*", NameLike(attribute=NAME, pattern="=山田*")),
    ("C.6 counts are never matched", "NumberOfStudyRelatedInstances", "5", None),
]


@pytest.mark.parametrize(("keyword", "key", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_key_becomes_condition(keyword: str, key: str, expected: Condition | None) -> None:
    assert condition(BY_KEYWORD[keyword], key) == expected


BROKEN = [
    ("StudyDate", "yesterday"),
    ("StudyDate", "20241301"),
    ("StudyDate", "2024010"),
    ("StudyDate", "2024-01-01"),
    ("StudyDate", "20240101\\20240102"),
    ("StudyTime", "25"),
    ("StudyTime", "1061-"),
    ("StudyTime", "10:3015"),
    ("StudyInstanceUID", "1.2.*"),
    ("StudyInstanceUID", "1.2'; DROP TABLE study"),
    ("SOPClassesInStudy", "CT"),
    ("InstanceNumber", "seven"),
    ("InstanceNumber", "9999999999999"),
]


@pytest.mark.parametrize(("keyword", "key"), BROKEN)
def test_broken_key_is_refused_with_its_tag(keyword: str, key: str) -> None:
    with pytest.raises(InvalidQuery, match=keyword) as raised:
        condition(BY_KEYWORD[keyword], key)
    assert raised.value.tag == BY_KEYWORD[keyword].tag


def test_fuzzy_names_are_words_in_any_order() -> None:
    assert condition(NAME, "John  DOÉ*", fuzzy=True) == NameLike(
        attribute=NAME, pattern="john doe", words=True
    )
    assert condition(NAME, "^", fuzzy=True) is None
    assert condition(PATIENT_ID, "P 1", fuzzy=True) == Equals(attribute=PATIENT_ID, value="P 1")


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Doe^John", "doe^john"),
        ("DOE ^ JOHN  Jr^^^", "doe^john jr"),
        ("Müller^Jürgen", "muller^jurgen"),
        ("Mu\u0308ller", "muller"),
        ("Straße", "strasse"),
        ("ŁUKASZ", "łukasz"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまだ^たろう"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"),
        ("김희중", "김희중"),
        ("Doe==", "doe"),
        ("=山田", "=山田"),
        ("Doe^A\\Roe^B^", "doe^a\\roe^b"),
        ("^^^^", ""),
        ("İstanbul", "istanbul"),
    ],
)
def test_fold(name: str, folded: str) -> None:
    assert fold(name) == folded
    assert fold(folded) == folded


def test_trigrams_are_a_sorted_set() -> None:
    assert trigrams("banana") == ["ana", "ban", "nan"]
    assert trigrams("ab") == []


@pytest.mark.parametrize(
    ("stored", "digits"),
    [("10", "100000000000"), ("103015.123", "103015123000"), ("10:30:15", "103015000000")],
)
def test_stored_times_compare_as_twelve_digits(stored: str, digits: str) -> None:
    assert time_digits(stored) == digits
