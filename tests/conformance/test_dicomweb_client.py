"""dicomweb-client, the peer of Python programs, against the running archive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    generate_uid,
)

from tests.archive import Archive
from tests.dicomweb import ask, instance_path, wait_for_instances
from tests.senders import made_study
from tests.waiting import wait_until

PATIENT_ID = "DICOMWEB-1"
FRAMES = 7
J2K = (("image/jp2", JPEG2000Lossless),)
PLAIN = (("application/octet-stream", ExplicitVRLittleEndian),)
AS_STORED = (("application/octet-stream", "*"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the archive holds: a CT series, and a multi-frame image uncompressed and in RLE."""

    client: DICOMwebClient
    ct: list[Dataset]
    native: Dataset
    rle: Dataset


def multi_frame(study: str, number: int) -> Dataset:
    image = made_study(1, rows=24, patient_id=PATIENT_ID)[0]
    image.StudyInstanceUID, image.SeriesNumber = study, number
    image.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.Modality, image.NumberOfFrames = "OT", FRAMES
    pixels = np.arange(FRAMES * 24 * 24, dtype="<u2") % 4096
    image.PixelData = pixels.tobytes()
    return image


@pytest.fixture(scope="module")
def stored(archive: Archive) -> Iterator[Stored]:
    client = DICOMwebClient(f"{archive.url}/dicom-web")
    ct = made_study(5, rows=48, patient_id=PATIENT_ID)
    native, rle = (multi_frame(ct[0].StudyInstanceUID, number) for number in (2, 3))
    for image in (*ct, native, rle):
        image.PatientName = "M\u00fcller^J\u00f6rg^Peter"
        image.SpecificCharacterSet = "ISO_IR 192"
        image.StudyDescription = "Thorax nativ"
        image.OperatorsName = "Tech^One"
    rle.compress(RLELossless)
    answer = client.store_instances([*ct, native, rle])
    assert len(answer.ReferencedSOPSequence) == 7
    assert answer.RetrieveURL.endswith(f"/dicom-web/studies/{ct[0].StudyInstanceUID}")
    wait_for_instances(archive, [instance_path(image) for image in (*ct, native, rle)])
    yield Stored(client=client, ct=ct, native=native, rle=rle)


def uids(image: Dataset) -> tuple[str, str, str]:
    return image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID


def value(model: dict[str, dict[str, list[object]]], tag: str) -> object:
    return model[tag]["Value"][0]


@pytest.mark.parametrize(
    "filters",
    [
        {"PatientID": "DICOMWEB-1"},
        {"00100020": "DICOMWEB-?"},
        {"PatientName": "m\u00fcller*"},
        {"PatientName": "MULLER^jorg*"},
        {"PatientID": "DICOMWEB*", "StudyDate": "20260101-20260131"},
        {"PatientID": "DICOMWEB*", "StudyTime": "10-11"},
        {"PatientID": "DICOMWEB*", "ModalitiesInStudy": "CT"},
        {"PatientID": "DICOMWEB*", "AccessionNumber": "A1"},
    ],
)
def test_studies_are_found(stored: Stored, filters: dict[str, str]) -> None:
    (found,) = stored.client.search_for_studies(search_filters=filters)
    assert value(found, "0020000D") == stored.ct[0].StudyInstanceUID
    assert value(found, "00100010") == {"Alphabetic": "M\u00fcller^J\u00f6rg^Peter"}
    assert sorted(found["00080061"]["Value"]) == ["CT", "OT"]
    assert (value(found, "00201206"), value(found, "00201208")) == (3, 7)


@pytest.mark.parametrize(
    "filters",
    [{"PatientID": "dicomweb-1"}, {"PatientID": "DICOMWEB-1", "StudyDate": "-20251231"}, {"PatientID": "%"}],
)
def test_studies_are_not_found(stored: Stored, filters: dict[str, str]) -> None:
    assert stored.client.search_for_studies(search_filters=filters) == []


def test_fuzzy_names(stored: Stored) -> None:
    filters = {"PatientName": "pet mull", "PatientID": "DICOMWEB-1"}
    assert len(stored.client.search_for_studies(fuzzymatching=True, search_filters=filters)) == 1
    assert stored.client.search_for_studies(search_filters=filters) == []


def test_limit_and_offset_walk_through_all(stored: Stored) -> None:
    study, series, _ = uids(stored.ct[0])
    pages = [
        stored.client.search_for_instances(study, series, limit=2, offset=offset) for offset in (0, 2, 4, 6)
    ]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    numbers = [value(found, "00200013") for page in pages for found in page]
    assert numbers == [1, 2, 3, 4, 5]
    everything = stored.client.search_for_instances(study, series, limit=2, get_remaining=True)
    assert len(everything) == 5


def test_fields_by_keyword_tag_and_all(stored: Stored) -> None:
    study = stored.ct[0].StudyInstanceUID
    search = {"StudyInstanceUID": study}
    (plain,) = stored.client.search_for_studies(search_filters=search)
    assert "00080062" not in plain
    (more,) = stored.client.search_for_studies(
        fields=["SOPClassesInStudy", "00081070"], search_filters=search
    )
    assert len(more["00080062"]["Value"]) == 2
    assert value(more, "00081070") == {"Alphabetic": "Tech^One"}
    found = stored.client.search_for_instances(study, fields=["all"], search_filters={"Modality": "CT"})
    assert {value(model, "00281050") if "00281050" in model else None for model in found} == {None}
    assert all(value(model, "00280101") == 12 for model in found)
    assert all("7FE00010" not in model for model in found)


def test_series_and_instances_are_found_below_and_across(stored: Stored) -> None:
    study, series, instance = uids(stored.ct[2])
    below = stored.client.search_for_series(study)
    across = stored.client.search_for_series(search_filters={"StudyInstanceUID": study})
    assert {value(model, "0020000E") for model in below} == {value(model, "0020000E") for model in across}
    assert "00100010" in across[0]
    (found,) = stored.client.search_for_series(study, search_filters={"Modality": "CT"})
    assert (value(found, "0020000E"), value(found, "00201209")) == (series, 5)
    (one,) = stored.client.search_for_instances(search_filters={"SOPInstanceUID": instance})
    assert value(one, "00080018") == instance
    assert value(one, "00280010") == 48
    assert value(one, "00081190").endswith(f"/instances/{instance}")  # type: ignore[attr-defined]


def test_studies_series_and_instances_come_back(stored: Stored) -> None:
    study, series, instance = uids(stored.ct[0])
    whole = stored.client.retrieve_study(study)
    assert {one.SOPInstanceUID for one in whole} == {
        one.SOPInstanceUID for one in (*stored.ct, stored.native, stored.rle)
    }
    of_series = stored.client.retrieve_series(study, series)
    assert [one.InstanceNumber for one in of_series] == [1, 2, 3, 4, 5]
    assert all((a.pixel_array == b.pixel_array).all() for a, b in zip(of_series, stored.ct, strict=True))
    assert stored.client.retrieve_instance(study, series, instance).PatientName == stored.ct[0].PatientName


def test_rle_comes_as_stored_or_decoded(stored: Stored) -> None:
    asked = (("application/dicom", "*"),)
    as_stored = stored.client.retrieve_instance(*uids(stored.rle), media_types=asked)
    assert as_stored.file_meta.TransferSyntaxUID == RLELossless
    assert as_stored.PixelData == stored.rle.PixelData
    plain = (("application/dicom", ExplicitVRLittleEndian),)
    decoded = stored.client.retrieve_instance(*uids(stored.rle), media_types=plain)
    assert decoded.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert decoded.PixelData == stored.native.PixelData


def test_jpeg_2000_rendition_is_given_untouched(archive: Archive, stored: Stored) -> None:
    asked = (("application/dicom", JPEG2000Lossless),)
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG2000Lossless}'
    path = instance_path(stored.ct[0])
    wait_until(lambda: ask(archive, path, "HEAD", Accept=accept).status == 200)
    given = stored.client.retrieve_instance(*uids(stored.ct[0]), media_types=asked)
    assert given.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert (given.pixel_array == stored.ct[0].pixel_array).all()
    (frame,) = stored.client.retrieve_instance_frames(*uids(stored.ct[0]), [1], media_types=J2K)
    assert frame.rstrip(b"\0") == next(generate_frames(given.PixelData, number_of_frames=1)).rstrip(b"\0")


@pytest.mark.parametrize("numbers", [[1], [FRAMES], [2, 3, 5], [5, 1], list(range(1, FRAMES + 1))])
@pytest.mark.parametrize("compressed", [False, True])
def test_frames_decoded(stored: Stored, numbers: list[int], compressed: bool) -> None:
    image = stored.rle if compressed else stored.native
    frames = stored.client.retrieve_instance_frames(*uids(image), numbers, media_types=PLAIN)
    expected = stored.native.pixel_array
    assert [np.frombuffer(frame, "<u2").tolist() for frame in frames] == [
        expected[number - 1].reshape(-1).tolist() for number in numbers
    ]


def test_frames_as_stored(stored: Stored) -> None:
    frames = stored.client.retrieve_instance_frames(*uids(stored.rle), [1, 4], media_types=AS_STORED)
    expected = list(generate_frames(stored.rle.PixelData, number_of_frames=FRAMES))
    assert frames == [expected[0], expected[3]]


def bulk_data(archive: Archive, model: dict[str, dict[str, str]]) -> str:
    """The URI of the pixels: this client sends a Host header without the port, so that URIs lack it too."""
    return archive.url + urlsplit(model["7FE00010"]["BulkDataURI"]).path


def test_metadata_and_bulk_data(archive: Archive, stored: Stored) -> None:
    study, series, _ = uids(stored.native)
    (model,) = stored.client.retrieve_series_metadata(study, series)
    read = Dataset.from_json(model, bulk_data_uri_handler=lambda uri: b"")
    assert (read.NumberOfFrames, read.PatientName) == (FRAMES, stored.native.PatientName)
    (whole,) = stored.client.retrieve_bulkdata(bulk_data(archive, model))
    assert whole == stored.native.PixelData
    assert len(stored.client.retrieve_study_metadata(study)) == 7
    (compressed,) = stored.client.retrieve_series_metadata(study, stored.rle.SeriesInstanceUID)
    parts = stored.client.retrieve_bulkdata(
        bulk_data(archive, compressed), media_types=(("application/octet-stream", "*"),)
    )
    assert parts == list(generate_frames(stored.rle.PixelData, number_of_frames=FRAMES))


@pytest.mark.parametrize(("media_type", "form"), [("image/jpeg", "JPEG"), ("image/png", "PNG")])
def test_rendered(stored: Stored, media_type: str, form: str) -> None:
    picture = Image.open(
        io.BytesIO(stored.client.retrieve_instance_rendered(*uids(stored.ct[0]), media_types=(media_type,)))
    )
    assert (picture.format, picture.size) == (form, (48, 48))
    small = stored.client.retrieve_instance_rendered(
        *uids(stored.ct[0]), media_types=(media_type,), params={"viewport": "24,24"}
    )
    assert Image.open(io.BytesIO(small)).size == (24, 24)
    frame = stored.client.retrieve_instance_frames_rendered(*uids(stored.rle), [3], media_types=(media_type,))
    assert Image.open(io.BytesIO(frame)).size == (24, 24)


def test_a_study_rendered_in_several_parts_or_in_one(archive: Archive, stored: Stored) -> None:
    path = f"/dicom-web/studies/{stored.ct[0].StudyInstanceUID}/rendered"
    parts = ask(archive, path, Accept='multipart/related; type="image/jpeg"').parts()
    assert len(parts) == 7
    assert {Image.open(io.BytesIO(part.content)).format for part in parts} == {"JPEG"}
    one = ask(archive, path, Accept="image/png")
    assert Image.open(io.BytesIO(one.body)).format == "PNG"


def test_thumbnails(archive: Archive, stored: Stored) -> None:
    study, series, instance = uids(stored.ct[0])
    path = f"/dicom-web/studies/{study}"
    for level in ("", f"/series/{series}", f"/series/{series}/instances/{instance}"):
        answer = ask(archive, f"{path}{level}/thumbnail")
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
        assert max(Image.open(io.BytesIO(answer.body)).size) <= 200


def test_storing_again_is_no_error(archive: Archive, stored: Stored) -> None:
    answer = stored.client.store_instances([stored.native])
    assert len(answer.ReferencedSOPSequence) == 1
    assert "FailedSOPSequence" not in answer


def test_storing_into_another_study_is_refused(archive: Archive, stored: Stored) -> None:
    stranger, welcome = made_study(1)[0], made_study(1)[0]
    welcome.StudyInstanceUID = study = generate_uid()
    answer = stored.client.store_instances([stranger, welcome], study_instance_uid=study)
    (refused,) = answer.FailedSOPSequence
    assert (refused.ReferencedSOPInstanceUID, refused.FailureReason) == (stranger.SOPInstanceUID, 0xA900)
    (taken,) = answer.ReferencedSOPSequence
    assert taken.ReferencedSOPInstanceUID == welcome.SOPInstanceUID
    wait_for_instances(archive, [instance_path(welcome)])
    assert ask(archive, instance_path(stranger)).status == 404


def test_all_that_was_stored_can_be_read_by_pydicom(stored: Stored) -> None:
    for one in stored.client.retrieve_study(
        stored.ct[0].StudyInstanceUID, media_types=(("application/dicom", "*"),)
    ):
        buffer = io.BytesIO()
        one.save_as(buffer, enforce_file_format=True)
        assert pydicom.dcmread(io.BytesIO(buffer.getvalue())) == one
