"""What cannot be right, sent to a running archive: a precise answer, a line of log, a place in the
quarantine, and nothing among the originals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
)

from services.common.dimse.messages import Command
from tests.archive import Archive
from tests.fakes.raw_peer import p_data, pdv, raw_peer, store_rq
from tests.senders import made_study, park
from tests.waiting import wait_until

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
PIECE = 8192


def encoded(data_set: Dataset) -> bytes:
    """The data set in Explicit VR Little Endian, be it never so wrong."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def store(archive: Archive, data_set: bytes, uid: str) -> Command:
    """Send a data set by hand under a command that announces CT Image Storage and `uid`."""
    with raw_peer(archive.dicom_port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, store_rq(uid=uid), command=True)))
        pieces = [data_set[start : start + PIECE] for start in range(0, len(data_set), PIECE)] or [b""]
        for piece in pieces[:-1]:
            peer.send(p_data(pdv(3, piece, command=False, last=False)))
        peer.send(p_data(pdv(3, pieces[-1], command=False)))
        return peer.command()


def originals(archive: Archive) -> set[Path]:
    """Every file among the originals."""
    return {path for path in (archive.data_dir / "blobs" / "originals").rglob("*") if path.is_file()}


def entries(archive: Archive) -> Mapping[str, dict[str, object]]:
    """What the quarantine holds, by id."""
    folder = archive.data_dir / "blobs" / "quarantine"
    return {path.stem: json.loads(path.read_bytes()) for path in folder.rglob("*.json")}


def _without(keyword: str) -> Dataset:
    (image,) = made_study(1)
    delattr(image, keyword)
    return image


def _with(keyword: str, value: str) -> Dataset:
    (image,) = made_study(1)
    image[keyword]._value = value
    return image


ANNOUNCED = generate_uid()
BAD = {
    "no Study Instance UID": (_without("StudyInstanceUID"), STUDY),
    "empty Study Instance UID": (_with("StudyInstanceUID", ""), STUDY),
    "no Series Instance UID": (_without("SeriesInstanceUID"), SERIES),
    "no SOP Instance UID": (_without("SOPInstanceUID"), SOP_INSTANCE),
    "another SOP Instance UID": (_with("SOPInstanceUID", generate_uid()), SOP_INSTANCE),
    "another SOP class": (_with("SOPClassUID", MRImageStorage), SOP_CLASS),
    "over-long Study Instance UID": (_with("StudyInstanceUID", "1." + "2" * 80), STUDY),
    "over-long Series Instance UID": (_with("SeriesInstanceUID", "1." * 33), SERIES),
    "a path in a UID": (_with("SeriesInstanceUID", "../../../../tmp/evil"), SERIES),
    "letters in a UID": (_with("StudyInstanceUID", "1.2.x"), STUDY),
}


@pytest.mark.parametrize("name", BAD)
def test_an_instance_that_cannot_be_one_is_refused_told_and_held(archive: Archive, name: str) -> None:
    image, tag = BAD[name]
    uid = str(image.get("SOPInstanceUID", "1.2.3.4")) if tag != SOP_INSTANCE else ANNOUNCED
    before, held, lines = originals(archive), entries(archive), len(archive.events("instance_refused"))
    answer = store(archive, encoded(image), uid)
    named = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    assert answer.status == 0xA900
    assert named in (answer.error_comment or "")
    assert answer.offending_elements == (tag,)
    assert originals(archive) == before
    (entry_id,) = entries(archive).keys() - held.keys()
    entry = entries(archive)[entry_id]
    assert (entry["kind"], entry["tag"]) == ("instance", tag)
    assert named in str(entry["reason"])
    kept = archive.data_dir / "blobs" / "quarantine" / f"{entry_id}.bin"
    assert any(path.name.startswith(f"{entry_id}.bin") for path in kept.parent.rglob("*"))
    refused = archive.events("instance_refused")[lines:]
    assert [line["entry_id"] for line in refused] == [entry_id]


FRAGMENT = b"\xfe\xff\x00\xe0" + (600).to_bytes(4, "little") + bytes(600)
UNDELIMITED = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0" + FRAGMENT


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (b"\xe0\x7f\x10\0OW\0\0" + (2048).to_bytes(4, "little") + bytes(48), "48 of 2048 bytes came"),
        (b"\xe0\x7f\x10\0OW\0\0" + b"\xfe\xff\xff\xff" + bytes(48), "48 of 4294967294 bytes came"),
        (UNDELIMITED[:-100], "500 of 600 bytes came"),
        (UNDELIMITED, "no delimiter came at its end"),
    ],
    ids=["truncated", "lying length", "truncated fragment", "no delimiter"],
)
def test_pixels_that_are_not_all_there_are_refused_and_replace_nothing(
    archive: Archive, pixels: bytes, says: str
) -> None:
    (image,) = made_study(1)
    good = encoded(image)
    uid, study = str(image.SOPInstanceUID), str(image.StudyInstanceUID)
    assert store(archive, good, uid).status == 0x0000
    before, lines = originals(archive), len(archive.events("instance_refused"))
    del image.PixelData
    bad = encoded(image) + pixels
    for _ in range(2):
        answer = store(archive, bad, uid)
        assert answer.status == 0xA900
        assert answer.error_comment == f"(7FE0,0010) is cut short: {says}"
        assert answer.offending_elements == (0x7FE00010,)
    assert originals(archive) == before
    refused = archive.events("instance_refused")[lines:]
    assert [(line["tag"], line["known"]) for line in refused] == [
        ("(7FE0,0010)", False),
        ("(7FE0,0010)", True),
    ]
    entry = archive.json(f"/api/quarantine/{refused[0]['entry_id']}")
    assert entry["bytes"] > len(bad)
    wait_until(lambda: archive.json(f"/dicom-web/studies/{study}/instances"))
    status, body, _ = archive.get(
        f"/wado?requestType=WADO&studyUID={study}&seriesUID={image.SeriesInstanceUID}"
        f"&objectUID={uid}&contentType=application/dicom&useOrig=true"
    )
    assert (status, body.endswith(good)) == (200, True)


def test_the_command_itself_may_announce_what_is_no_uid(archive: Archive) -> None:
    before = originals(archive)
    for uid in ("../../../etc/passwd", "1." * 32 + "1", ""):
        (image,) = made_study(1)
        image["SOPInstanceUID"]._value = uid
        answer = store(archive, encoded(image), uid)
        assert answer.status in (0xA900, 0xC000), hex(answer.status or 0)
        assert answer.error_comment
    assert originals(archive) == before


@pytest.mark.parametrize(
    "data_set",
    [b"", b"\x00" * 500, b"no data set", b"\x08\x00\x16\x00UI\xff\xff1.2", b"\x08\x00\x05\x00CS\x0a\x00ISO",
     b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 500],
    ids=["nothing", "zeros", "text", "a length beyond its end", "cut", "a deep nest"],
)  # fmt: skip
def test_bytes_that_are_no_data_set_are_refused_and_the_next_are_taken(
    archive: Archive, data_set: bytes
) -> None:
    before = originals(archive)
    answer = store(archive, data_set, "1.2.3.4")
    assert answer.status in (0xA900, 0xC000), hex(answer.status or 0)
    assert answer.error_comment
    assert originals(archive) == before
    (image,) = made_study(1)
    assert store(archive, encoded(image), str(image.SOPInstanceUID)).status == 0x0000


def ask(archive: Archive, **keys: str) -> list[int]:
    """The statuses that a C-FIND in the Study Root model is answered with."""
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    ae = AE(ae_title="BAD-ASKER")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = park(ae.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY"))
    answers = association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind)
    statuses = [status.Status for status, _ in answers]
    association.release()
    return statuses


@pytest.mark.parametrize(
    "keys",
    [
        {"QueryRetrieveLevel": "PATIENT", "PatientID": "1"},
        {"QueryRetrieveLevel": "NONSENSE"},
        {"PatientID": "1"},
        {"QueryRetrieveLevel": "STUDY", "StudyDate": "yesterday"},
        {"QueryRetrieveLevel": "STUDY", "StudyDate": "20260101-20260102-20260103"},
    ],
    ids=lambda keys: " ".join(keys.values()) or "none",
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_query_that_cannot_be_right_is_answered_a900(archive: Archive, keys: dict[str, str]) -> None:
    assert ask(archive, **keys) == [0xA900]


@pytest.mark.parametrize(
    "query",
    ["/dicom-web/studies?StudyDate=yesterday", "/dicom-web/studies?limit=-1", "/dicom-web/studies?limit=x",
     "/dicom-web/studies?NoSuchKeyword=1", "/dicom-web/studies?StudyInstanceUID=1.2.x",
     "/dicom-web/studies?offset=-5", "/dicom-web/studies?includefield=NoSuchKeyword"],
)  # fmt: skip
def test_a_query_over_http_that_cannot_be_right_is_a_problem_document(archive: Archive, query: str) -> None:
    status, body, headers = archive.get(query)
    assert status == 400, body
    assert headers["content-type"].startswith("application/problem+json")
    assert json.loads(body)["status"] == 400


def test_the_archive_is_well_after_all_this(archive: Archive) -> None:
    assert archive.get("/readyz")[0] == 200
    (image,) = made_study(1)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    assert store(archive, encoded(image), str(image.SOPInstanceUID)).status == 0x0000
    assert archive.events("child_died") == []
