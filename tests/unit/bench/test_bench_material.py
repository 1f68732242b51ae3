"""Images to send are whole DICOM files, under UIDs that are new each time."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian

from bench.material import Batch, Material, data_set, same_image, sop_uid_of, spot_check
from bench.rows import LARGE, SMALL, Size


@pytest.fixture
def material(tmp_path: Path) -> Material:
    size = Size(key="tiny", label="tiny", count=6, rows=16, columns=24, frames=2)
    return Material(size, tmp_path / "made")


def uids(batches: list[Batch]) -> set[str]:
    return {image.sop_uid for batch in batches for image in batch.images}


def test_the_files_say_what_the_batch_says(material: Material) -> None:
    for batch in material.batches(2):
        for image in batch.images:
            read = dcmread(image.path)
            assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == image.sop_uid
            assert (read.StudyInstanceUID, read.SeriesInstanceUID) == (batch.study_uid, batch.series_uid)
            assert read.PatientID in batch.study_uid
            assert UID(image.sop_uid).is_valid
            assert len(read.PixelData) == material.size.pixel_bytes == 16 * 24 * 2 * 2


def test_uids_are_new_in_each_run_and_pixels_stay(material: Material) -> None:
    first = material.batches(1)
    pixels = [dcmread(image.path).PixelData for image in first[0].images]
    second = material.batches(3)
    assert not uids(first) & uids(second)
    assert len({batch.study_uid for batch in second}) == 3
    third = material.batches(1)
    assert [dcmread(image.path).PixelData for image in third[0].images] == pixels


def test_every_image_has_noise_of_its_own(material: Material) -> None:
    pixels = {dcmread(image.path).PixelData for image in material.batches(1)[0].images}
    assert len(pixels) == 6


def test_batches_share_the_images_out(material: Material) -> None:
    batches = material.batches(4)
    assert sorted(len(batch.images) for batch in batches) == [1, 1, 2, 2]
    assert len(uids(batches)) == 6


def test_a_data_set_is_what_follows_the_file_meta_information(material: Material) -> None:
    image = material.batches(1)[0].images[0]
    part10 = image.path.read_bytes()
    assert data_set(part10).startswith(b"\x08\x00\x16\x00UI")
    assert sop_uid_of(part10) == image.sop_uid


def test_the_same_image_may_come_in_another_transfer_syntax_but_not_otherwise(material: Material) -> None:
    one, other = (image.path.read_bytes() for image in material.batches(1)[0].images[:2])
    assert same_image(one, one)
    assert not same_image(one, other)
    assert not same_image(one, b"")
    assert not same_image(one, one[:-2] + b"\0\1")
    read = dcmread(BytesIO(one))
    read.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    written = BytesIO()
    read.save_as(written, implicit_vr=True, little_endian=True)
    assert same_image(one, written.getvalue())


def test_a_spot_check_has_the_first_and_the_last(material: Material) -> None:
    images = material.batches(1)[0].images
    assert spot_check(images) == [images[0], images[2], images[5]]
    assert spot_check(images[:1]) == [images[0]]


def test_the_sizes_are_as_large_as_they_are_called() -> None:
    assert 38_000 < SMALL.pixel_bytes < 40_000
    assert 29_000_000 < LARGE.pixel_bytes < 32_000_000
    assert replace(SMALL, frames=3).pixel_bytes == 3 * SMALL.pixel_bytes
