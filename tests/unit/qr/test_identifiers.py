"""What peers ask, from the bytes of their identifiers."""

from __future__ import annotations

import zlib

import pytest
from pydicom import Sequence

from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidQuery
from services.common.model import Level
from services.common.query import Between, Equals, Like, NameLike, OneOf
from services.qr.identifiers import question, selection
from tests.unit.qr.encoded import EXPLICIT, IMPLICIT, SYNTAXES, data_set, encode, identifier

ALL = tuple(Level)
STUDY_ROOT = ALL[1:]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_keys_become_conditions_and_return_keys(syntax: str) -> None:
    asked = question(
        identifier(
            syntax,
            QueryRetrieveLevel="STUDY",
            PatientName="Doe*",
            PatientID="",
            StudyDate="20240101-",
            ModalitiesInStudy=["CT", "PT"],
            StudyInstanceUID="",
            NumberOfStudyRelatedInstances="",
        ),
        syntax,
        STUDY_ROOT,
    )
    assert asked.query.level is Level.STUDY
    assert set(asked.query.conditions) == {
        NameLike(attribute=BY_KEYWORD["PatientName"], pattern="doe*"),
        Between(attribute=BY_KEYWORD["StudyDate"], low="20240101", high=""),
        OneOf(attribute=BY_KEYWORD["ModalitiesInStudy"], values=("CT", "PT")),
    }
    assert {attribute.keyword for attribute in asked.columns} == {
        "PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyInstanceUID",
        "NumberOfStudyRelatedInstances",
    }  # fmt: skip
    assert (asked.others, asked.query.headers, asked.is_fully_supported) == ((), False, True)


def test_deflated_identifier() -> None:
    plain = identifier(QueryRetrieveLevel="STUDY", PatientID="P1")
    compressor = zlib.compressobj(wbits=-15)
    deflated = compressor.compress(plain) + compressor.flush()
    asked = question(deflated, "1.2.840.10008.1.2.1.99", STUDY_ROOT)
    assert asked.query.conditions == (Equals(attribute=BY_KEYWORD["PatientID"], value="P1"),)


@pytest.mark.parametrize(
    ("level", "levels"),
    [("", ALL), ("study", ALL), ("WORLD", ALL), ("PATIENT", STUDY_ROOT), ("IMAGE", ALL[:2]), (None, ALL)],
)
def test_a_level_that_is_not_in_the_model_is_refused(level: str | None, levels: tuple[Level, ...]) -> None:
    content = data_set(PatientID="P1", StudyInstanceUID="1.2")
    if level is not None:
        content.update(data_set(QueryRetrieveLevel=level))
    for read in (question, selection):
        with pytest.raises(InvalidQuery) as raised:
            read(encode(content), EXPLICIT, levels)
        assert raised.value.tag == 0x00080052


def test_broken_key_names_its_tag() -> None:
    raw = encode(data_set(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")).replace(b"1.2\0", b"1.x\0")
    with pytest.raises(InvalidQuery) as raised:
        question(raw, EXPLICIT, ALL)
    assert raised.value.tag == 0x0020000D


@pytest.mark.parametrize("raw", [b"\x08\0\x52\0CS\xff\0STU", b"nonsense that is no data set", b"\0"])
def test_bytes_that_are_no_data_set_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidQuery):
        question(raw, EXPLICIT, ALL)


def test_what_is_about_the_question_is_not_matched_on() -> None:
    content = data_set(
        SpecificCharacterSet="ISO_IR 100",
        QueryRetrieveLevel="STUDY",
        RetrieveAETitle="OTHER",
        InstanceAvailability="ONLINE",
        TimezoneOffsetFromUTC="+0100",
        PatientID="P1",
    )
    lengths = b"\x08\0\0\0\x04\0\0\0\x2a\0\0\0"
    asked = question(lengths + encode(content, IMPLICIT), IMPLICIT, ALL)
    assert asked.query.conditions == (Equals(attribute=BY_KEYWORD["PatientID"], value="P1"),)
    assert asked.is_fully_supported
    assert asked.others == ()
    assert asked.specific_character_set == "ISO_IR 100"


def test_a_name_is_read_in_the_character_set_of_the_question() -> None:
    for term in ("ISO_IR 100", "ISO_IR 192", "latin1", ""):
        codec = "utf-8" if term == "ISO_IR 192" else "latin-1"
        raw = encode(data_set(QueryRetrieveLevel="STUDY", PatientName="XXXXXXXX"))
        raw = raw.replace(b"XXXXXXXX", "Müller".encode(codec).ljust(8))
        if term:
            raw = (
                encode(data_set(SpecificCharacterSet="ISO_IR 100")).replace(
                    b"ISO_IR 100", term.ljust(10).encode()
                )
                + raw
            )
        (asked,) = question(raw, EXPLICIT, ALL).query.conditions
        assert isinstance(asked, NameLike)
        assert asked.pattern.startswith("mulle")


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("count", [1, 2, 400, 5000])
def test_lists_of_uids(syntax: str, count: int) -> None:
    uids = [f"1.2.826.0.1.3680043.8.498.1{n:039}" for n in range(count)]
    raw = identifier(syntax, QueryRetrieveLevel="IMAGE", SOPInstanceUID=uids)
    for conditions in (
        question(raw, syntax, STUDY_ROOT).query.conditions,
        selection(raw, syntax, STUDY_ROOT).conditions,
    ):
        (asked,) = conditions
        assert isinstance(asked, OneOf if count > 1 else Equals)
        assert (asked.values if isinstance(asked, OneOf) else (asked.value,)) == tuple(uids)  # type: ignore[union-attr]


def test_binary_keys_are_numbers() -> None:
    for syntax in SYNTAXES:
        asked = question(identifier(syntax, QueryRetrieveLevel="IMAGE", Rows=512), syntax, ALL)
        assert asked.query.conditions == (Equals(attribute=BY_KEYWORD["Rows"], value="512"),)


def test_optional_keys_without_a_column_come_from_the_header() -> None:
    asked = question(
        identifier(QueryRetrieveLevel="STUDY", InstitutionName="", Manufacturer="", StudyInstanceUID="1.2"),
        EXPLICIT,
        ALL,
    )
    assert asked.others == (0x00080070, 0x00080080)
    assert asked.query.headers
    assert asked.is_fully_supported


@pytest.mark.parametrize(
    ("values", "supported"),
    [
        ({"Manufacturer": "ACME"}, False),
        ({"Manufacturer": "*"}, True),
        ({"NumberOfStudyRelatedInstances": "5"}, False),
        ({"ProcedureCodeSequence": Sequence([data_set(CodeValue="", CodeMeaning="")])}, True),
        ({"ProcedureCodeSequence": Sequence([data_set(CodeValue="X")])}, False),
        ({"ProcedureCodeSequence": Sequence([])}, True),
    ],
)
def test_a_key_to_match_that_is_not_supported_is_noted(values: dict[str, object], supported: bool) -> None:
    asked = question(identifier(QueryRetrieveLevel="STUDY", **values), EXPLICIT, ALL)
    assert asked.query.conditions == ()
    assert asked.is_fully_supported is supported


def test_lower_identities_and_counts_are_no_answer_above() -> None:
    asked = question(
        identifier(
            QueryRetrieveLevel="STUDY",
            SeriesInstanceUID="",
            SOPInstanceUID="",
            NumberOfSeriesRelatedInstances="",
            Modality="C*",
        ),
        EXPLICIT,
        ALL,
    )
    assert asked.others == (0x00080060,)
    assert asked.query.conditions == (Like(attribute=BY_KEYWORD["Modality"], pattern="C*"),)


def test_patient_counts_are_asked_for_below_patient_level() -> None:
    asked = question(identifier(QueryRetrieveLevel="STUDY", NumberOfPatientRelatedStudies=""), EXPLICIT, ALL)
    assert asked.query.patient_counts


def test_private_keys_bring_their_creator() -> None:
    content = data_set(QueryRetrieveLevel="IMAGE")
    content.private_block(0x0029, "ACME 1.0", create=True).add_new(0x08, "CS", "")
    asked = question(encode(content), EXPLICIT, ALL)
    assert asked.others == (0x00291008,)
    assert asked.private_creators == {0x00290010: "ACME 1.0"}
    assert asked.is_fully_supported


def test_retrieval_takes_unique_keys_alone() -> None:
    raw = identifier(
        QueryRetrieveLevel="SERIES",
        PatientID="P*",
        StudyInstanceUID="1.2",
        SeriesInstanceUID=["1.2.3", "1.2.4"],
        SOPInstanceUID="1.9",
        PatientName="Doe",
    )
    selected = selection(raw, EXPLICIT, ALL)
    assert selected.conditions == (
        Equals(attribute=BY_KEYWORD["PatientID"], value="P*"),
        Equals(attribute=BY_KEYWORD["StudyInstanceUID"], value="1.2"),
        OneOf(attribute=BY_KEYWORD["SeriesInstanceUID"], values=("1.2.3", "1.2.4")),
    )
    assert not selected.headers


@pytest.mark.parametrize(
    ("level", "values", "tag"),
    [
        ("PATIENT", {"PatientName": "Doe"}, 0x00100020),
        ("STUDY", {"PatientID": "P1"}, 0x0020000D),
        ("STUDY", {"StudyInstanceUID": ""}, 0x0020000D),
        ("SERIES", {"StudyInstanceUID": "1.2"}, 0x0020000E),
        ("IMAGE", {"SeriesInstanceUID": "1.2"}, 0x00080018),
    ],
)
def test_retrieval_needs_the_unique_key_of_its_level(level: str, values: dict[str, str], tag: int) -> None:
    raw = identifier(QueryRetrieveLevel=level, **values)
    with pytest.raises(InvalidQuery) as raised:
        selection(raw, EXPLICIT, ALL)
    assert raised.value.tag == tag
