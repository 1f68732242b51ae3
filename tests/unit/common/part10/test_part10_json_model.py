"""The DICOM JSON model of PS3.18 annex F."""

from __future__ import annotations

import base64
import json
import struct
import sys
from typing import Any

import pytest

from services.common.part10 import dicom_json
from tests.unit.common.part10.data_sets import BIG_ENDIAN, EXPLICIT, JPEG, Writer, header, uids

W = Writer(EXPLICIT)


def model(*elements: bytes, syntax: str = EXPLICIT, only: set[int] | None = None) -> dict[str, Any]:
    made = dicom_json(header(b"".join(elements), syntax), lambda path: f"bulk/{path}", only=only)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "attribute"),
    [
        (0x00080060, "CS", b"CT", {"vr": "CS", "Value": ["CT"]}),
        (0x00080060, "CS", b"", {"vr": "CS"}),
        (0x00080060, "CS", b"  ", {"vr": "CS"}),
        (0x00080008, "CS", b"A\\\\B ", {"vr": "CS", "Value": ["A", None, "B"]}),
        (0x00204000, "LT", b"one\\two ", {"vr": "LT", "Value": ["one\\two"]}),
        (0x00181060, "DS", b"1.5\\2\\-3e2", {"vr": "DS", "Value": [1.5, 2.0, -300.0]}),
        (0x00181060, "DS", b"1,5 ", {"vr": "DS", "Value": ["1,5"]}),
        (0x00181060, "DS", b"NaN\\inf\\1e999\\1_0", {"vr": "DS", "Value": ["NaN", "inf", "1e999", "1_0"]}),
        (0x00200013, "IS", b"7\\+8\\x ", {"vr": "IS", "Value": [7, 8, "x"]}),
        (0x00200013, "IS", b"1.0", {"vr": "IS", "Value": ["1.0"]}),
        (0x00280010, "US", b"\0\2\1\0", {"vr": "US", "Value": [512, 1]}),
        (0x00280009, "AT", b"\x18\0\x63\x10", {"vr": "AT", "Value": ["00181063"]}),
        (0x00189073, "FD", struct.pack("<d", 0.25), {"vr": "FD", "Value": [0.25]}),
        (0x00189073, "FD", struct.pack("<d", float("nan")), {"vr": "FD"}),
        (0x00189073, "FD", struct.pack("<dd", float("nan"), 1), {"vr": "FD", "Value": [None, 1.0]}),
        (0x00189073, "FD", struct.pack("<d", -float("inf")), {"vr": "FD", "Value": [-sys.float_info.max]}),
        (0x00189073, "FL", struct.pack("<f", float("inf")), {"vr": "FL", "Value": [3.4028234663852886e38]}),
        (0x00720082, "SV", struct.pack("<qq", 5, -(1 << 60)), {"vr": "SV", "Value": [5, str(-(1 << 60))]}),
        (0x00100010, "PN", b"Doe^Jane", {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}),
        (0x00100010, "PN", b"==Fo", {"vr": "PN", "Value": [{"Phonetic": "Fo"}]}),
        (0x00100010, "PN", b"A=B=C\\D", {"vr": "PN", "Value": [
            {"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C"}, {"Alphabetic": "D"}]}),
        (0x00100010, "PN", b"==", {"vr": "PN"}),
        (0x00420011, "OB", b"%PDF", {"vr": "OB", "InlineBinary": base64.b64encode(b"%PDF").decode()}),
        (0x00091001, "UN", b"\1\2", {"vr": "UN", "InlineBinary": "AQI="}),
        (0x00420011, "OB", b"x" * 2000, {"vr": "OB", "BulkDataURI": "bulk/00420011"}),
        (0x00204000, "LT", b"x" * 2000, {"vr": "LT", "BulkDataURI": "bulk/00204000"}),
        (0x7FE00010, "OW", b"px", {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}),
    ],
)  # fmt: skip
def test_attribute(tag: int, vr: str, raw: bytes, attribute: dict[str, Any]) -> None:
    assert model(W.element(tag, vr, raw)) == {f"{tag:08X}": attribute}


def test_sequences_nest_and_empty_items_stay() -> None:
    item = W.item(W.element(0x54001010, "OW", b"w" * 3000) + W.element(0x003A0005, "US", b"\1\0"))
    made = model(W.sequence(0x54000100, [item, W.item(b"")]), W.sequence(0x00081140, []))
    assert made == {
        "00081140": {"vr": "SQ"},
        "54000100": {
            "vr": "SQ",
            "Value": [
                {
                    "003A0005": {"vr": "US", "Value": [1]},
                    "54001010": {"vr": "OW", "BulkDataURI": "bulk/54000100/0/54001010"},
                },
                {},
            ],
        },
    }
    assert list(made) == sorted(made)


def test_encapsulated_pixel_data_is_bulk_data_of_vr_ob() -> None:
    assert model(W.fragments(b"", b"jpeg"), syntax=JPEG) == {
        "7FE00010": {"vr": "OB", "BulkDataURI": "bulk/7FE00010"}
    }


def test_text_is_unicode_and_says_so() -> None:
    made = model(W.element(0x00080005, "CS", b"ISO_IR 100"), W.element(0x00100010, "PN", b"Buc^J\xe9r\xf4me"))
    assert made["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert made["00100010"]["Value"] == [{"Alphabetic": "Buc^Jérôme"}]


def test_group_lengths_group_2_and_padding_are_not_reported() -> None:
    made = model(
        W.element(0x00020010, "UI", b"1.2\0"),
        W.element(0x00080000, "UL", b"\4\0\0\0"),
        uids(W),
        W.element(0xFFFCFFFC, "OB", b"\0\0"),
    )
    assert set(made) == {"00080016", "00080018", "0020000D", "0020000E"}


def test_inline_binary_of_big_endian_words_is_swapped() -> None:
    w = Writer(BIG_ENDIAN)
    elements = (
        (0x00281201, "OW", b"\1\2\3\4"),
        (0x00660016, "OF", b"\1\2\3\4"),
        (0x7FE00001, "OV", b"\1\2\3\4\5\6\7\x08"),
        (0x00420011, "OB", b"\1\2"),
        (0x00281202, "OW", b"\1\2\3"),
    )
    made = model(uids(w), *(w.element(*e) for e in elements), syntax=BIG_ENDIAN)
    inline = {name: base64.b64decode(a["InlineBinary"]) for name, a in made.items() if "InlineBinary" in a}
    assert inline == {
        "00281201": b"\2\1\4\3",
        "00660016": b"\4\3\2\1",
        "7FE00001": b"\x08\7\6\5\4\3\2\1",
        "00420011": b"\1\2",
        "00281202": b"\1\2\3",
    }


def test_only_names_the_top_level_attributes_wanted() -> None:
    assert set(model(uids(W), only={0x00080018, 0x00100010})) == {"00080018"}


def test_bulk_data_without_a_uri_is_absent() -> None:
    found = header(uids(W) + W.element(0x7FE00010, "OW", b"p" * 10))
    assert "7FE00010" not in dicom_json(found, None)
