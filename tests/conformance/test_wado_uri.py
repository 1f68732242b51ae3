"""WADO-URI as Horos and OsiriX send it (PS3.18 9)."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from services.common.part10 import read_file_meta
from tests.archive import Archive
from tests.dicomweb import Answer, ask, instance_path, stow, wait_for_instances
from tests.senders import made_study, written
from tests.waiting import wait_until

AT_A_TIME = 10


@pytest.fixture(scope="module")
def images(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """A series whose last image is in RLE, with the files that were stored in `files`."""
    made = made_study(12, rows=40)
    made[-1].compress(RLELossless)
    paths = written(made, tmp_path_factory.mktemp("wado-uri"))
    assert stow(archive, [path.read_bytes() for path in paths]).status == 200
    wait_for_instances(archive, [instance_path(image) for image in made])
    for image, path in zip(made, paths, strict=True):
        image.filename = str(path)
    return made


def wado(archive: Archive, image: Dataset, parameters: str = "") -> Answer:
    return ask(
        archive,
        f"/wado?requestType=WADO&studyUID={image.StudyInstanceUID}"
        f"&seriesUID={image.SeriesInstanceUID}&objectUID={image.SOPInstanceUID}{parameters}",
    )


def data_set_bytes(file: bytes) -> bytes:
    return file[read_file_meta(io.BytesIO(file)).data_set_offset :]


def test_ten_at_a_time_as_horos_asks(archive: Archive, images: list[Dataset]) -> None:
    def fetch(image: Dataset) -> Answer:
        return wado(archive, image, "&contentType=application/dicom&useOrig=true&anotherParameter=1")

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(pool.map(fetch, images * 3))
    for image, answer in zip(images * 3, answers, strict=True):
        assert answer.status == 200
        syntax = image.file_meta.TransferSyntaxUID
        assert answer.content_type == f"application/dicom; transfer-syntax={syntax}"
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert data_set_bytes(answer.body) == data_set_bytes(Path(image.filename).read_bytes())


def test_jpeg_2000_is_given_where_it_is_asked_for(archive: Archive, images: list[Dataset]) -> None:
    asked = f"&contentType=application%2Fdicom&transferSyntax={JPEG2000Lossless}"
    wait_until(lambda: JPEG2000Lossless in wado(archive, images[0], asked).content_type)
    given = pydicom.dcmread(io.BytesIO(wado(archive, images[0], asked).body))
    assert given.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert (given.pixel_array == images[0].pixel_array).all()


@pytest.mark.parametrize("asked", ["", "&transferSyntax=1.2.840.10008.1.2.4.50", "&transferSyntax=nonsense"])
def test_explicit_little_endian_is_given_where_nothing_better_can_be(
    archive: Archive, images: list[Dataset], asked: str
) -> None:
    given = pydicom.dcmread(
        io.BytesIO(wado(archive, images[-1], f"&contentType=application/dicom{asked}").body)
    )
    assert given.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (given.pixel_array == images[-1].pixel_array).all()


def test_any_transfer_syntax_is_the_stored_one(archive: Archive, images: list[Dataset]) -> None:
    answer = wado(archive, images[-1], "&contentType=application/dicom&transferSyntax=*")
    assert answer.content_type.endswith(RLELossless)


@pytest.mark.parametrize(
    ("parameters", "form", "size"),
    [
        ("", "JPEG", (40, 40)),
        ("&contentType=image/jpeg", "JPEG", (40, 40)),
        ("&contentType=image/png,image/jpeg", "PNG", (40, 40)),
        ("&contentType=image/jpeg&rows=20", "JPEG", (20, 20)),
        ("&contentType=image/jpeg&columns=10&rows=20", "JPEG", (10, 10)),
        ("&windowCenter=40&windowWidth=400&imageQuality=50&frameNumber=1", "JPEG", (40, 40)),
    ],
)
def test_pictures(
    archive: Archive, images: list[Dataset], parameters: str, form: str, size: tuple[int, int]
) -> None:
    answer = wado(archive, images[0], parameters)
    picture = Image.open(io.BytesIO(answer.body))
    assert (answer.status, picture.format, answer.content_type) == (200, form, f"image/{form.lower()}")
    assert picture.size == size
