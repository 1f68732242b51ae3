"""What the catalog learns of a header, whatever stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader, Values
from services.index.extract import extract
from tests.fakes.made_instances import stored_instance
from tests.unit.common.part10.data_sets import BIG_ENDIAN, EXPLICIT, IMPLICIT, Writer, scan, uids


def said(values: Mapping[str, bytes], syntax: str = EXPLICIT) -> Values:
    """What is extracted from a data set of the UIDs and these values, in order of tags."""
    writer = Writer(syntax)
    its = sorted(((BY_KEYWORD[keyword], value) for keyword, value in values.items()), key=lambda v: v[0].tag)
    elements = [writer.element(a.tag, a.vr, value) for a, value in its]
    data_set = b"".join(sorted([*elements, uids(writer)], key=lambda e: e[:4]))
    return _extracted(data_set, syntax)


def _extracted(data_set: bytes, syntax: str = EXPLICIT) -> Values:
    stored = replace(stored_instance(1), header=scan(data_set, syntax), transfer_syntax_uid=syntax)
    record = extract(stored)
    assert record.stored is stored
    return {
        keyword: value
        for keyword, value in record.values.items()
        if not keyword.endswith("InstanceUID") and keyword != "SOPClassUID"
    }


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_every_transfer_syntax_says_the_same(syntax: str) -> None:
    rows = b"\2\0" if syntax == BIG_ENDIAN else b"\0\2"
    values = {"PatientName": b"Doe^Jane ", "StudyDate": b"20260101", "Rows": rows, "InstanceNumber": b" 7"}
    assert said(values, syntax) == {
        "PatientName": "Doe^Jane",
        "StudyDate": "20260101",
        "Rows": "512",
        "InstanceNumber": "7",
    }


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("StudyDate", b"1999.01.02", "19990102"),
        ("StudyDate", b"19990102", "19990102"),
        ("StudyDate", b"02/01/99", "02/01/99"),
        ("StudyDate", b"yesterday ", "yesterday"),
        ("StudyDate", b"        ", None),
        ("StudyTime", b"10:30:00", "10:30:00"),
        ("StudyDescription", b"1999.01.02", "1999.01.02"),
        ("StudyDescription", b"x" * 500, "x" * 500),
        ("StudyDescription", b"a\\b", "a\\b"),
        ("StudyDescription", b"\\ \\", None),
        ("SeriesNumber", b"one ", "one"),
        ("PatientSex", b"unknown!", "unknown!"),
        ("PatientID", b"\0\0", None),
        ("PatientID", b" 17 ", "17"),
        ("PatientName", b"M\xfcller^J\xf6rg ", "Müller^Jörg"),
        ("Rows", b"\1", None),
    ],
)
def test_no_value_is_too_odd(keyword: str, value: bytes, text: str | None) -> None:
    """Statement 22: a bad date, an over-long LO, a bad IS do not stop storing."""
    assert said({keyword: value}).get(keyword) == text


def test_text_is_decoded_in_its_character_set() -> None:
    writer = Writer(EXPLICIT)
    data_set = (
        writer.element(0x00080005, "CS", b"ISO_IR 192")
        + uids(writer)
        + writer.element(0x00100010, "PN", "Yamada^Tarou=山田^太郎".encode())
    )
    assert _extracted(data_set) == {"PatientName": "Yamada^Tarou=山田^太郎"}


def test_an_absent_value_is_absent() -> None:
    assert said({"StudyDate": b"", "PatientName": b""}) == {}


@given(st.dictionaries(st.sampled_from(sorted(BY_KEYWORD)), st.binary(max_size=40), max_size=6))
def test_any_bytes_are_read(values: dict[str, bytes]) -> None:
    its = {keyword: value for keyword, value in values.items() if not keyword.endswith("UID")}
    assert all(text.strip(" ") for text in said(its).values())


def test_what_is_no_header_is_invalid() -> None:
    broken = CapturedHeader(version=1, content=b"\x08\0\x16\0UI\xff\0abc", covers=40)
    with pytest.raises(InvalidInstance):
        extract(replace(stored_instance(1), header=broken))
