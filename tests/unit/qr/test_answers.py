"""Matches as the identifiers that peers read."""

from __future__ import annotations

import time

import pytest
from pydicom import Dataset, Sequence

from services.common.model import Level
from services.common.query import Match
from services.qr.answers import AnswerEncoder
from services.qr.identifiers import question
from tests.unit.qr.encoded import (
    BIG_ENDIAN,
    EXPLICIT,
    SYNTAXES,
    captured,
    data_set,
    decode,
    encode,
    identifier,
)

_HOROS_STUDY = (
    "PatientName", "PatientID", "AccessionNumber", "PatientBirthDate", "StudyDescription", "StudyDate",
    "StudyTime", "StudyInstanceUID", "StudyID", "NumberOfStudyRelatedInstances", "InstitutionName",
    "ReferringPhysicianName", "PerformingPhysicianName", "ModalitiesInStudy",
)  # fmt: skip


def answer(asked: Dataset, match: Match, syntax: str = EXPLICIT) -> Dataset:
    encoder = AnswerEncoder(question(encode(asked, syntax), syntax, tuple(Level)), syntax, "GANTRY")
    return decode(encoder.encode(match), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_columns_are_answered_in_every_transfer_syntax(syntax: str) -> None:
    asked = data_set(QueryRetrieveLevel="IMAGE", PatientName="", Rows="", StudyDate="", SOPInstanceUID="")
    given = answer(
        asked, Match(values={"PatientName": "Doe^John", "Rows": "512", "SOPInstanceUID": "1.2.3"}), syntax
    )
    assert given == data_set(
        QueryRetrieveLevel="IMAGE",
        RetrieveAETitle="GANTRY",
        InstanceAvailability="ONLINE",
        PatientName="Doe^John",
        Rows=512,
        StudyDate="",
        SOPInstanceUID="1.2.3",
    )


def test_every_key_that_horos_asks_for_is_answered() -> None:
    asked = data_set(QueryRetrieveLevel="STUDY", **dict.fromkeys(_HOROS_STUDY, ""))
    stored = data_set(InstitutionName="St. Elsewhere", PerformingPhysicianName="Who^Doctor")
    columns = {"PatientName": "Doe", "NumberOfStudyRelatedInstances": "7", "ModalitiesInStudy": "CT\\PT"}
    given = answer(asked, Match(values=columns, header=captured(stored), transfer_syntax_uid=EXPLICIT))
    assert {key for key in _HOROS_STUDY if key in given} == set(_HOROS_STUDY)
    assert given.InstitutionName == "St. Elsewhere"
    assert given.NumberOfStudyRelatedInstances == 7
    assert given.ModalitiesInStudy == ["CT", "PT"]


def test_what_the_archive_does_not_have_is_not_returned() -> None:
    asked = data_set(QueryRetrieveLevel="IMAGE", Manufacturer="", ImageComments="")
    given = answer(
        asked,
        Match(values={}, header=captured(data_set(ImageComments="")), transfer_syntax_uid=EXPLICIT),
    )
    assert "Manufacturer" not in given
    assert given["ImageComments"].is_empty


@pytest.mark.parametrize("stored_syntax", SYNTAXES)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_private_and_binary_elements_come_from_the_header(stored_syntax: str, syntax: str) -> None:
    stored = data_set(
        SpecificCharacterSet="ISO_IR 100",
        BitsStored=12,
        SmallestImagePixelValue=-3,
        PixelRepresentation=1,
        WindowCenter=["40", "50"],
        ImagePositionPatient=["1", "2", "3"],
        RecommendedDisplayFrameRateInFloat=1.5,
        ReferencedImageSequence=Sequence(
            [data_set(ReferencedSOPInstanceUID="1.2"), data_set(ReferencedFrameNumber="7", Manufacturer="é")]
        ),
    )
    stored["SmallestImagePixelValue"].VR = "SS"
    stored.private_block(0x0029, "OTHER", create=True).add_new(0x08, "LO", "not this")
    stored.private_block(0x0029, "ACME", create=True).add_new(0x08, "LO", "this")
    asked = data_set(
        QueryRetrieveLevel="IMAGE",
        BitsStored="",
        PixelRepresentation="",
        SmallestImagePixelValue="",
        WindowCenter="",
        RecommendedDisplayFrameRateInFloat="",
        ReferencedImageSequence=Sequence([]),
    )
    asked["SmallestImagePixelValue"].VR = "SS"
    asked.private_block(0x0029, "ACME", create=True).add_new(0x08, "LO", "")
    header = captured(stored, stored_syntax)
    given = answer(asked, Match(values={}, header=header, transfer_syntax_uid=stored_syntax), syntax)
    assert given.BitsStored == 12
    assert given.SmallestImagePixelValue == -3
    assert given.WindowCenter == [40, 50]
    first, second = given.ReferencedImageSequence
    assert first.ReferencedSOPInstanceUID == "1.2"
    assert (second.ReferencedFrameNumber, second.Manufacturer) == (7, "é")
    assert given.SpecificCharacterSet == "ISO_IR 192"
    # The ACME block of the instance is 11, of the question 10.  In implicit VR its elements are unknown (UN).
    assert given.private_block(0x0029, "ACME")[0x08].value in ("this", b"this")
    assert "ImagePositionPatient" not in given


@pytest.mark.parametrize(
    ("asked_set", "name", "answered_set"),
    [
        ("", "Doe^John", None),
        ("", "Müller", "ISO_IR 192"),
        ("ISO_IR 100", "Doe^John", "ISO_IR 100"),
        ("ISO_IR 100", "Müller", "ISO_IR 100"),
        ("ISO_IR 100", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 192", "山田^太郎", "ISO_IR 192"),
        ("GB18030", "王^小东", "GB18030"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", "Yamada=山田^太郎", ["ISO 2022 IR 6", "ISO 2022 IR 87"]),
        ("ISO-IR_1OO", "Müller", "ISO_IR 192"),
        ("nonsense\\\\more", "Doe", None),
    ],
)
def test_the_answer_is_in_the_character_set_of_the_question(
    asked_set: str, name: str, answered_set: object
) -> None:
    raw = identifier(QueryRetrieveLevel="STUDY", PatientName="")
    if asked_set:
        charset = identifier(SpecificCharacterSet="X" * len(asked_set))
        raw = charset.replace(b"X" * len(asked_set), asked_set.encode()) + raw
    encoder = AnswerEncoder(question(raw, EXPLICIT, tuple(Level)), EXPLICIT, "GANTRY")
    given = decode(encoder.encode(Match(values={"PatientName": name})))
    assert given.get("SpecificCharacterSet") == answered_set
    assert given.PatientName == name


def test_a_private_element_without_its_creator_is_given_as_it_is() -> None:
    stored = Dataset()
    stored.private_block(0x0029, "ACME", create=True).add_new(0x08, "LO", "this")
    asked = data_set(QueryRetrieveLevel="IMAGE")
    asked.add_new(0x00291008, "LO", "")
    for syntax in (EXPLICIT, BIG_ENDIAN):
        header = captured(stored, syntax)
        given = answer(asked, Match(values={}, header=header, transfer_syntax_uid=syntax))
        assert given[0x0029, 0x1008].value == "this"


def test_a_thousand_answers_take_less_than_a_second() -> None:
    asked = identifier(QueryRetrieveLevel="STUDY", Manufacturer="", **dict.fromkeys(_HOROS_STUDY, ""))
    encoder = AnswerEncoder(question(asked, EXPLICIT, tuple(Level)), EXPLICIT, "GANTRY")
    values = dict.fromkeys(_HOROS_STUDY, "1")
    match = Match(values=values, header=captured(data_set(**values)), transfer_syntax_uid=EXPLICIT)
    started = time.process_time()
    for _ in range(1000):
        encoder.encode(match)
    assert time.process_time() - started < 1
