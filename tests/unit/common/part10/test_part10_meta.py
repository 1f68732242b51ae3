"""File meta information: written as PS3.10 7.1 says, read as real files have it."""

from __future__ import annotations

import io

import pydicom
import pytest

from services.common.errors import InvalidInstance
from services.common.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileMeta,
    file_meta,
    read_file_meta,
)
from tests.unit.common.part10.data_sets import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEG, Writer, uids

W = Writer(EXPLICIT)
META = file_meta(sop_class_uid="1.2.840.1", sop_instance_uid="1.2.3", transfer_syntax_uid=JPEG)
FULL = file_meta(
    sop_class_uid="1.2.840.1",
    sop_instance_uid="1.2.3",
    transfer_syntax_uid=JPEG,
    source_aet="CT1",
    sending_aet="ROUTER",
    receiving_aet="GANTRY",
)


def read(data: bytes) -> FileMeta:
    return read_file_meta(io.BytesIO(data))


@pytest.mark.parametrize("meta", [META, FULL])
def test_what_is_written_is_read_by_pydicom(meta: bytes) -> None:
    found = pydicom.dcmread(io.BytesIO(meta + uids(W))).file_meta
    assert found.FileMetaInformationGroupLength == len(meta) - 144
    assert found.FileMetaInformationVersion == b"\0\1"
    assert found.MediaStorageSOPClassUID == "1.2.840.1"
    assert found.MediaStorageSOPInstanceUID == "1.2.3"
    assert found.TransferSyntaxUID == JPEG
    assert found.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert found.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME == "GANTRY_010"
    assert pydicom.uid.UID(IMPLEMENTATION_CLASS_UID).is_valid and IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    titles = [found.get(n) for n in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle")]
    titles.append(found.get("ReceivingApplicationEntityTitle"))
    assert titles == ([None] * 3 if meta is META else ["CT1", "ROUTER", "GANTRY"])


@pytest.mark.parametrize("rest", [b"", uids(W), b"\x02\x00 a deflated stream may begin so"])
def test_what_is_written_is_read_back(rest: bytes) -> None:
    assert read(FULL + rest) == FileMeta(
        sop_class_uid="1.2.840.1",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=JPEG,
        data_set_offset=len(FULL),
        source_aet="CT1",
        sending_aet="ROUTER",
        receiving_aet="GANTRY",
    )


@pytest.mark.parametrize("skipped", [128, 132])
def test_meta_without_preamble(skipped: int) -> None:
    found = read(META[skipped:] + uids(W))
    assert (found.has_preamble, found.data_set_offset) == (False, len(META) - skipped)
    assert found.transfer_syntax_uid == JPEG


@pytest.mark.parametrize("length", [0, 1, 1000, 0xFFFFFFFF])
def test_wrong_group_length_is_walked_over(length: int) -> None:
    meta = META[:140] + length.to_bytes(4, "little") + META[144:]
    assert read(meta + uids(W)).data_set_offset == len(META)


def test_meta_without_group_length() -> None:
    found = read(META[:132] + META[144:] + uids(W))
    assert (found.data_set_offset, found.sop_instance_uid) == (len(META) - 12, "1.2.3")


def test_meta_in_implicit_vr() -> None:
    w = Writer(IMPLICIT)
    meta = bytes(128) + b"DICM" + w.element(0x00020010, "UI", IMPLICIT.encode() + b"\0")
    found = read(meta + uids(w))
    assert (found.transfer_syntax_uid, found.data_set_offset) == (IMPLICIT, len(meta))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("before", [b"", bytes(128) + b"DICM"])
def test_transfer_syntax_that_is_not_said_is_guessed(syntax: str, before: bytes) -> None:
    found = read(before + uids(Writer(syntax)))
    assert (found.transfer_syntax_uid, found.data_set_offset) == (syntax, len(before))
    assert found.sop_class_uid == "" and found.has_preamble == bool(before)


def test_prefix_may_be_the_text_of_a_data_set_without_preamble() -> None:
    data = W.element(0x00080005, "CS", b"ISO_IR 100") + W.element(0x00204000, "LT", b"x" * 102 + b"DICMxxxx")
    assert data[128:132] == b"DICM"
    assert read(data).data_set_offset == 0


def test_preamble_may_look_like_an_element() -> None:
    found = read(uids(W).ljust(128, b"\0")[:128] + META[128:])
    assert (found.has_preamble, found.data_set_offset) == (True, len(META))


def test_long_private_information_is_passed_over() -> None:
    private = W.element(0x00020100, "UI", b"1.2\0") + W.element(0x00020102, "OB", b"p" * 500_000)
    assert read(META[:132] + META[144:] + private + uids(W)).data_set_offset == len(META) - 12 + len(private)


@pytest.mark.parametrize(
    "data",
    [b"", b"DIC", b"hello, this is a text file", bytes(200), b"\x89PNG\r\n\x1a\n0000", b"MSH|^~\\&|x|y|z|1"],
)
def test_what_is_no_dicom_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInstance, match="neither a DICM prefix nor a data element at byte 0"):
        read(data)


def test_hostile_length_in_meta_reads_no_further_than_bounds() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1, /) -> bytes:
            begin = META[:132] + W.element(0x00020102, "OB", b"", length=0xFFFFFFF0)
            data = (
                (begin + bytes(size))[self.given : self.given + size]
                if self.given < len(begin)
                else bytes(size)
            )
            self.given += len(data)
            return data

    stream = Endless()
    with pytest.raises(InvalidInstance, match="0002,0102") as caught:
        read_file_meta(stream)
    assert caught.value.tag == 0x00020102
    assert stream.given < 2_000_000


def test_stream_that_gives_a_byte_at_a_time() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1)

    assert read_file_meta(Slow(META + uids(W))).data_set_offset == len(META)
