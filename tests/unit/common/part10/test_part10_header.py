"""Random access to a captured header."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10 import Header, values
from tests.unit.common.part10.data_sets import EXPLICIT, JPEG, Writer, header, scan, uids

W = Writer(EXPLICIT)


def test_elements_come_in_the_order_of_the_data_set_with_their_places() -> None:
    data = uids(W) + W.sequence(0x00081140, [W.item(b""), W.item(W.element(0x00081150, "UI", b"1.2\0"))])
    elements = list(header(data).elements())
    assert [e.tag for e in elements] == [0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00081140]
    assert all(e.value == data[e.offset : e.offset + e.length] for e in elements[:4])
    items = elements[4].items
    assert items is not None and elements[4].value is None
    assert [len(list(item.elements())) for item in items] == [0, 1]
    inner = items[1].element("ReferencedSOPClassUID")
    assert inner is not None and data[inner.offset : inner.offset + inner.length] == b"1.2\0"


def test_text_by_tag_and_by_keyword() -> None:
    found = header(uids(W) + W.element(0x00080060, "CS", b""))
    assert found.text(0x0020000D) == found.text("StudyInstanceUID") == "1.2.4"
    assert found.text("Modality") == ""
    assert found.text("PatientName") is None
    with pytest.raises(KeyError):
        found.text("NoSuchKeyword")


def test_values_are_those_that_there_are() -> None:
    found = header(uids(W) + W.element(0x00080060, "CS", b"") + W.element(0x00280010, "US", b"\0\2"))
    keywords = ("SOPInstanceUID", "Modality", "PatientName", "Rows")
    assert values(found, keywords) == {"SOPInstanceUID": "1.2.3", "Rows": "512"}


def test_of_equal_tags_the_last_counts() -> None:
    found = header(W.element(0x00100020, "LO", b"ONE ") + W.element(0x00100020, "LO", b"TWO "))
    assert found.text("PatientID") == "TWO"


def test_public_tag_of_vr_un_is_read_as_the_dictionary_says() -> None:
    found = header(W.element(0x00100010, "UN", b"Doe^Jane"))
    assert found.text("PatientName") == "Doe^Jane"
    assert [e.vr for e in found.elements()] == ["PN"]


def test_repeating_groups_have_a_vr_in_implicit_data() -> None:
    w = Writer("1.2.840.10008.1.2")
    found = header(uids(w) + w.element(0x60020010, "", b"\1\0"), "1.2.840.10008.1.2")
    assert found.text(0x60020010) == "1"


def test_completeness_is_told_by_the_length_of_the_data_set() -> None:
    data = uids(W)
    assert header(data).is_complete_for(len(data))
    assert not Header(scan(data, limit=40), EXPLICIT).is_complete_for(len(data))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "54000100",
        "00081140/0/54001010",
        "00081140/1/00081150",
        "00081140/x/00081150",
        "00080018/0/1",
    ],
)
def test_path_to_nothing_finds_nothing(path: str) -> None:
    data = uids(W) + W.sequence(0x00081140, [W.item(W.element(0x00081150, "UI", b"1.2\0"))])
    assert header(data).find(path) is None


def test_pixel_data_that_is_none() -> None:
    assert header(uids(W)).pixel_data() is None
    pixels = header(uids(W) + W.fragments(), JPEG).pixel_data()
    assert pixels is not None and pixels.fragments == () and pixels.length == 0


def test_float_pixel_data_is_located() -> None:
    data = uids(W) + W.element(0x7FE00008, "OF", b"f" * 8)
    pixels = header(data).pixel_data()
    assert pixels is not None and pixels.tag == 0x7FE00008
    assert (pixels.vr, pixels.offset, pixels.length) == ("OF", len(data) - 8, 8)


@pytest.mark.parametrize(
    "captured",
    [
        CapturedHeader(version=2, content=b"", covers=0),
        CapturedHeader(version=1, content=b"\x08\0\x18\0UI\x06\0", covers=8),
    ],
)
def test_header_of_another_make_is_refused(captured: CapturedHeader) -> None:
    with pytest.raises(InvalidInstance):
        Header(captured, EXPLICIT)
