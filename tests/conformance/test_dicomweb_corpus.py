"""One file of each kind in the corpus over DICOMweb: stored, given back to the byte, decoded, shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from services.common.errors import InvalidInstance
from services.common.part10 import read_file_meta
from services.common.pixels.frames import NATIVE
from tests.archive import Archive, end, start_archive
from tests.dicomweb import AS_STORED, ask, instance_path, stow, wait_for_instances

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
"""pydicom's, about what is odd in the files."""

KINDS = 90
LARGEST_BYTES = 8 * 2**20
PLAIN_PIXELS = 'multipart/related; type="application/octet-stream"'
LOSSY = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.81",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file that the archive holds."""

    path: Path
    content: bytes
    data_set: FileDataset
    transfer_syntax_uid: str
    url: str

    @property
    def data_set_bytes(self) -> bytes:
        return self.content[read_file_meta(io.BytesIO(self.content)).data_set_offset :]


def read(path: Path) -> FileDataset | None:
    """A file with pixels, as pydicom understands it, if it does."""
    try:
        data_set = pydicom.dcmread(path)
        uids = [data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID]
        kind(data_set)
    except Exception:  # noqa: BLE001  whatever pydicom makes of hostile bytes
        return None
    return data_set if all(uids) else None


def kind(data_set: Dataset) -> tuple[str, ...]:
    """What a test would want two different files of."""
    return (
        str(data_set.file_meta.TransferSyntaxUID),
        "pixels" if "PixelData" in data_set else str(data_set.SOPClassUID),
        str(data_set.get("PhotometricInterpretation")),
        str(data_set.get("BitsAllocated")),
        str(data_set.get("PlanarConfiguration")),
        "many" if int(data_set.get("NumberOfFrames") or 1) > 1 else "one",
    )


@pytest.fixture(scope="module")
def dicomweb_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive of the chosen files alone."""
    running = start_archive(tmp_path_factory.mktemp("dicomweb"))
    yield running
    end(running)


@pytest.fixture(scope="module")
def kept(dicomweb_archive: Archive, corpus_files: list[Path]) -> list[Kept]:
    """The first file of each kind, stored by STOW-RS."""
    chosen: dict[tuple[str, ...], Kept] = {}
    taken: set[str] = set()
    for path in corpus_files:
        if path.stat().st_size > LARGEST_BYTES or len(chosen) >= KINDS:
            continue
        data_set = read(path)
        if data_set is None or kind(data_set) in chosen or data_set.SOPInstanceUID in taken:
            continue
        content = path.read_bytes()
        try:
            meta = read_file_meta(io.BytesIO(content))
        except InvalidInstance:
            continue
        answer = stow(dicomweb_archive, [content])
        assert answer.status in (200, 409), (path, answer)
        if answer.status == 200:
            taken.add(data_set.SOPInstanceUID)
            chosen[kind(data_set)] = Kept(
                path=path,
                content=content,
                data_set=data_set,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                url=instance_path(data_set),
            )
    found = list(chosen.values())
    wait_for_instances(dicomweb_archive, [one.url for one in found])
    return found


def test_many_kinds_are_there(kept: list[Kept]) -> None:
    assert len(kept) >= 12
    assert len({one.transfer_syntax_uid for one in kept}) >= 5


def test_as_stored_is_identical_to_the_byte(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    for one in kept:
        (part,) = ask(dicomweb_archive, one.url, Accept=AS_STORED).parts()
        meta = read_file_meta(io.BytesIO(part.content))
        assert part.content[meta.data_set_offset :] == one.data_set_bytes, one.path
        assert part.transfer_syntax == meta.transfer_syntax_uid == one.transfer_syntax_uid
        assert part.head["Content-Location"] == dicomweb_archive.url + one.url


def pixels(data_set: Dataset, *, raw: bool) -> NDArray[np.int64] | None:
    """The pixels as pydicom decodes them, if it does."""
    try:
        return pydicom.pixels.pixel_array(data_set, raw=raw).astype(np.int64)
    except Exception:  # noqa: BLE001  it lacks a decoder, or the file is broken
        return None


def differs(one: Kept, found: NDArray[np.int64]) -> str:
    """How pixels differ from those that pydicom finds in the file; empty where they do not."""
    allowed = 4.0 if one.transfer_syntax_uid in LOSSY else 0.0
    worst = "other shape"
    for raw in (True, False):
        expected = pixels(one.data_set, raw=raw)
        if expected is None:
            return ""
        if expected.size == found.size:
            mean = float(np.abs(expected.reshape(-1) - found.reshape(-1)).mean())
            if mean <= allowed:
                return ""
            worst = f"by {mean:.2f}"
    return f"{one.path.name} {one.transfer_syntax_uid} {worst}"


def test_explicit_little_endian_is_what_a_client_gets_that_names_nothing(
    dicomweb_archive: Archive, kept: list[Kept]
) -> None:
    wrong, decoded = [], 0
    for one in kept:
        answer = ask(dicomweb_archive, one.url, Accept='multipart/related; type="application/dicom"')
        (part,) = answer.parts()
        given = pydicom.dcmread(io.BytesIO(part.content))
        assert part.transfer_syntax == given.file_meta.TransferSyntaxUID
        if part.transfer_syntax != ExplicitVRLittleEndian:
            # Nobody here decodes it: it comes as it is stored, and says so.
            assert part.transfer_syntax == one.transfer_syntax_uid
            continue
        if "PixelData" in given:
            found = pixels(given, raw=True)
            if found is not None:
                decoded += 1
                wrong.append(differs(one, found))
    assert "\n".join(filter(None, wrong)) == ""
    assert decoded >= 8


def test_decoded_frames_equal_those_of_pydicom(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    wrong, decoded = [], 0
    for one in kept:
        if "PixelData" not in one.data_set or one.data_set.BitsAllocated not in (8, 16, 32):
            continue
        if one.data_set.PhotometricInterpretation == "YBR_FULL_422":
            continue  # pydicom shares out the chrominance, which is no part of decoding
        count = int(one.data_set.get("NumberOfFrames") or 1)
        numbers = ",".join(map(str, range(1, min(count, 3) + 1)))
        answer = ask(dicomweb_archive, f"{one.url}/frames/{numbers}", Accept=PLAIN_PIXELS)
        assert answer.status in (200, 404, 406), (one.path, answer)
        if answer.status != 200 or pixels(one.data_set, raw=True) is None or count > 3:
            continue
        parts = answer.parts()
        assert {part.transfer_syntax for part in parts} == {ExplicitVRLittleEndian}
        signed = "i" if one.data_set.PixelRepresentation else "u"
        dtype = np.dtype(f"<{signed}{one.data_set.BitsAllocated // 8}")
        samples = np.concatenate([_samples(part.content, one.data_set, dtype) for part in parts])
        decoded += 1
        wrong.append(differs(one, samples.astype(np.int64)))
    assert "\n".join(filter(None, wrong)) == ""
    assert decoded >= 8


def _samples(frame: bytes, data_set: Dataset, dtype: np.dtype[np.int64]) -> NDArray[np.int64]:
    """A frame's samples pixel by pixel, as pydicom orders them."""
    flat = np.frombuffer(frame, dtype=dtype)
    rows, columns = data_set.Rows, data_set.Columns
    in_planes = data_set.SamplesPerPixel == 3 and data_set.get("PlanarConfiguration") == 1
    if in_planes and flat.size == 3 * rows * columns:
        flat = flat.reshape(3, rows, columns).transpose(1, 2, 0)
    return flat.reshape(-1)


def test_frames_as_stored_are_the_code_streams(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    compared = 0
    for one in kept:
        syntax = one.data_set.file_meta.TransferSyntaxUID
        if syntax in NATIVE or "PixelData" not in one.data_set:
            continue
        count = int(one.data_set.get("NumberOfFrames") or 1)
        try:
            expected = list(generate_frames(one.data_set.PixelData, number_of_frames=count))
        except ValueError:
            continue
        accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
        answer = ask(dicomweb_archive, f"{one.url}/frames/{count}", Accept=accept)
        if answer.status != 200:
            assert answer.status == 406, (one.path, answer)
            continue
        (part,) = answer.parts()
        assert part.transfer_syntax == syntax
        assert part.content.rstrip(b"\0") == expected[-1].rstrip(b"\0"), one.path
        compared += 1
    assert compared >= 5


def test_metadata_is_valid_and_says_what_the_file_says(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    for one in kept:
        answer = ask(dicomweb_archive, f"{one.url}/metadata", Accept="application/dicom+json")
        assert answer.content_type == "application/dicom+json"
        (model,) = pydicom_models(answer.body)
        assert model.SOPInstanceUID == one.data_set.SOPInstanceUID, one.path
        for keyword in ("Rows", "Columns", "BitsAllocated", "NumberOfFrames", "PatientID", "Modality"):
            assert model.get(keyword) == one.data_set.get(keyword) or not one.data_set.get(keyword), keyword


def pydicom_models(body: bytes) -> list[Dataset]:
    """The models as pydicom reads them."""
    return [Dataset.from_json(model, bulk_data_uri_handler=lambda uri: b"") for model in json.loads(body)]


def test_bulk_data_of_uncompressed_pixels_is_little_endian(
    dicomweb_archive: Archive, kept: list[Kept]
) -> None:
    compared = set()
    for one in kept:
        syntax = one.data_set.file_meta.TransferSyntaxUID
        if syntax not in NATIVE or "PixelData" not in one.data_set:
            continue
        answer = ask(dicomweb_archive, f"{one.url}/bulkdata/7FE00010", Accept="application/octet-stream")
        if answer.status != 200:
            continue
        expected = one.data_set.PixelData
        if syntax == ExplicitVRBigEndian and one.data_set["PixelData"].VR == "OW":
            word = 4 if one.data_set.BitsAllocated == 32 else 2
            expected = np.frombuffer(expected, f">u{word}").astype(f"<u{word}").tobytes()
        assert answer.body == expected, one.path
        compared.add(str(syntax))
    assert len(compared) >= 3


def test_pictures_are_made_or_refused(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    shown = 0
    for one in kept:
        for what in ("rendered", "thumbnail"):
            answer = ask(dicomweb_archive, f"{one.url}/{what}")
            if answer.status == 200:
                assert answer.content_type == "image/jpeg"
                assert answer.body[:3] == b"\xff\xd8\xff"
                shown += 1
            else:
                assert answer.status in (400, 406), (one.path, answer)
                assert answer.content_type == "application/problem+json"
    assert shown >= 20


def test_nothing_was_unforeseen(dicomweb_archive: Archive, kept: list[Kept]) -> None:
    assert "Traceback" not in dicomweb_archive.said()
    assert dicomweb_archive.events("answer_broken_off") == []
