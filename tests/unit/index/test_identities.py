"""Identities that cannot be decoded whole never make two people one."""

from __future__ import annotations

import pytest

from services.common.model import CapturedHeader
from services.common.part10 import Header, encode_elements
from services.index.extract import _told_apart

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def identity(raw: bytes, charset: bytes = b"ISO_IR 192") -> str:
    """What becomes of a Patient ID."""
    content = encode_elements([(0x00080005, "CS", charset), (0x00100020, "LO", raw)], explicit=True)
    header = Header(
        CapturedHeader(version=1, content=content, covers=len(content)), EXPLICIT_VR_LITTLE_ENDIAN
    )
    return _told_apart(header.text("PatientID") or "", header, "PatientID")


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"M\xfcller1 ", b"M\xf6ller1 "), (b"12\x0034 ", b"1234"), (b"12\x0034 ", b"1\x00234 ")],
)
def test_what_cannot_be_decoded_stays_apart(one: bytes, other: bytes) -> None:
    assert identity(one) != identity(other)


def test_what_can_be_decoded_stays_as_it_is() -> None:
    assert identity(b"1234\0") == "1234"
    assert identity("Müller1 ".encode()) == "Müller1"
