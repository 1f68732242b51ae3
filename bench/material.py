"""Images to send: made here, never committed, under UIDs that are new in each run.

Each file holds a token of fifteen digits wherever a UID or the patient's ID stands.  Rewriting the token at
the places where it stands makes a new study of the same files at the cost of some small writes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import PYDICOM_ROOT_UID, ExplicitVRLittleEndian

_TOKEN_DIGITS = 15
_NOISE = 14.0
"""Standard deviation, in grey values of 12 bits: about what an abdominal CT has."""
_PIXEL_DATA = b"\xe0\x7f\x10\x00OW\x00\x00"

Pixels = npt.NDArray[np.uint16]
Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A kind of image and how many of them a run sends."""

    key: str
    label: str
    count: int
    rows: int
    columns: int
    sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.2"
    modality: str = "CT"
    frames: int = 1

    @property
    def pixel_bytes(self) -> int:
        """The length of Pixel Data."""
        return self.rows * self.columns * 2 * self.frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A file, and the UIDs that stand in it now."""

    path: Path
    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one association sends: a study of one series."""

    images: tuple[Image, ...]

    @property
    def study_uid(self) -> str:
        """The study that they all belong to."""
        return self.images[0].study_uid

    @property
    def series_uid(self) -> str:
        """The series that they all belong to."""
        return self.images[0].series_uid


class Material:
    """The files of one size."""

    def __init__(self, size: Size, folder: Path) -> None:
        """Make the files; `folder` is made too."""
        self.size = size
        self._token = _new_token()
        folder.mkdir(parents=True)
        noise = np.random.default_rng(1)
        phantom = _phantom(size.rows, size.columns)
        self._images = [
            _write(folder / f"{number:05}.dcm", size, self._token, number, phantom, noise)
            for number in range(1, size.count + 1)
        ]
        self._offsets = _occurrences(_head(self._images[0].path), self._token.encode())
        self._tokens = [self._token] * size.count

    def batches(self, count: int) -> list[Batch]:
        """All images as so many studies, each under UIDs never used before; the files are rewritten."""
        return [self.batch(first, count) for first in range(count)]

    def batch(self, first: int, step: int) -> Batch:
        """Every `step`-th image from the `first` on, as a study under UIDs never used before."""
        token = _new_token()
        return Batch(tuple(self._restamp(index, token) for index in range(first, self.size.count, step)))

    def warm(self) -> None:
        """Have every file in the page cache and nothing left to write back."""
        os.sync()
        buffer = bytearray(1 << 20)
        for image in self._images:
            with image.path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def _restamp(self, index: int, token: str) -> Image:
        image = self._images[index]
        with image.path.open("r+b", buffering=0) as file:
            for offset in self._offsets:
                file.seek(offset)
                file.write(token.encode())
        old = self._tokens[index]
        self._tokens[index] = token
        self._images[index] = replace(
            image,
            study_uid=image.study_uid.replace(old, token),
            series_uid=image.series_uid.replace(old, token),
            sop_uid=image.sop_uid.replace(old, token),
        )
        return self._images[index]


def data_set(part10: bytes) -> bytes:
    """What follows the file meta information (PS3.10 7.1), the length of which its first element tells."""
    return part10[144 + int.from_bytes(part10[140:144], "little") :]


def sop_uid_of(part10: bytes) -> str:
    """SOP Instance UID (0008,0018)."""
    header = dcmread(BytesIO(part10), specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    return str(header.SOPInstanceUID)


def same_image(sent: bytes, got: bytes) -> bool:
    """Whether two Part 10 files hold the same data set: to the byte, or in another transfer syntax."""
    if not got or data_set(sent) == data_set(got):
        return bool(got)
    one, other = dcmread(BytesIO(sent)), dcmread(BytesIO(got))
    differ = one.file_meta.TransferSyntaxUID != other.file_meta.TransferSyntaxUID
    return differ and bool(one == other)


def spot_check(images: Sequence[Image], count: int = 3) -> list[Image]:
    """The first, the last, and some between."""
    last = len(images) - 1
    return [images[index] for index in sorted({last * step // max(count - 1, 1) for step in range(count)})]


def _new_token() -> str:
    """Digits of a fixed number that begin with no zero, as a component of a UID must."""
    return "1" + "".join(random.choices("0123456789", k=_TOKEN_DIGITS - 1))


def _occurrences(data: bytes, token: bytes) -> list[int]:
    found = []
    at = data.find(token)
    while at >= 0:
        found.append(at)
        at = data.find(token, at + 1)
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).partition(_PIXEL_DATA)[0]


def _write(
    path: Path, size: Size, token: str, number: int, phantom: Picture, noise: np.random.Generator
) -> Image:
    header = _header(size, token, number)
    header.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(_PIXEL_DATA + size.pixel_bytes.to_bytes(4, "little"))
        for frame in _frames(size, phantom, noise):
            file.write(frame.tobytes())
    return Image(
        path=path,
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        sop_uid=str(header.SOPInstanceUID),
    )


def _header(size: Size, token: str, number: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = size.sop_class_uid
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    study_uid = f"{PYDICOM_ROOT_UID}{token}"
    image.StudyInstanceUID = study_uid
    image.SeriesInstanceUID = f"{PYDICOM_ROOT_UID}{token}.1"
    image.SOPInstanceUID = f"{PYDICOM_ROOT_UID}{token}.1.1{number:05}"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyDate, image.StudyTime = "20260102", "101112"
    image.AccessionNumber, image.StudyID = "BENCH", "1"
    image.Modality = size.modality
    image.PatientName, image.PatientID = "Bench^Mark", token
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.SeriesNumber, image.InstanceNumber = 1, number
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    if size.frames > 1:
        image.NumberOfFrames = size.frames
    image.Rows, image.Columns = size.rows, size.columns
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    return image


def _phantom(rows: int, columns: int) -> Picture:
    """A round body with organs on air, in 12 bits."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    picture = np.full((rows, columns), 60.0, np.float32)
    for centre_y, centre_x, height, width, value in (
        (0.0, 0.0, 0.72, 0.9, 1060.0),
        (-0.1, -0.4, 0.3, 0.25, 300.0),
        (-0.1, 0.4, 0.3, 0.25, 300.0),
        (0.25, 0.0, 0.14, 0.12, 2100.0),
        (-0.25, 0.1, 0.2, 0.18, 1180.0),
    ):
        inside = ((y - centre_y) / height) ** 2 + ((x - centre_x) / width) ** 2 < 1
        picture[inside] = value + 60 * x[inside]
    return picture


def _frames(size: Size, phantom: Picture, noise: np.random.Generator) -> Iterator[Pixels]:
    """Each frame with noise of its own, up to eight frames; then those again."""
    made: list[Pixels] = []
    for number in range(size.frames):
        if number < 8:
            grain = noise.standard_normal(phantom.shape, dtype=np.float32) * _NOISE
            made.append(np.clip(phantom + grain, 0, 4095).astype(np.uint16))
        yield made[number % 8]
