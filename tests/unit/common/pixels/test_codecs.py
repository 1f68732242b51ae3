"""Every codec against pydicom's own decoders, DCMTK, and its inverse."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from services.common.errors import NotAcceptable
from services.common.pixels import codecs, layout
from services.common.pixels.description import ImageDescription
from tests.unit.common.pixels.images import description_of, distinct, noise

_EXTENDED = "1.2.840.10008.1.2.4.51"
_LOSSY_TOLERANCE = 2
"""What two decoders of an 8-bit lossy stream may differ by."""


def _read(path: Path) -> Dataset | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data_set = pydicom.dcmread(path)
            _ = data_set.file_meta.TransferSyntaxUID
            return data_set if "PixelData" in data_set else None
        except Exception:  # noqa: BLE001  hostile files break pydicom in many ways
            return None


def _compressed(files: list[Path]) -> Iterator[tuple[Path, Dataset, ImageDescription, bytes]]:
    for path in files:
        data_set = _read(path)
        if data_set is None or data_set.file_meta.TransferSyntaxUID not in codecs.CODECS:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = description_of(data_set)
            try:
                frames = generate_frames(data_set.PixelData, number_of_frames=image.number_of_frames)
                frame = next(frames)
            except (ValueError, StopIteration):
                continue
        yield path, data_set, image, frame


def _reference(data_set: Dataset, raw: bool) -> np.ndarray[Any, Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pixel_array(data_set, raw=raw, index=0)
        except Exception:  # noqa: BLE001  what pydicom cannot decode is compared elsewhere or not at all
            return None


def test_every_corpus_frame_that_pydicom_decodes_has_the_same_pixels(corpus_files: list[Path]) -> None:
    compared: Counter[str] = Counter()
    wrong = []
    for path, data_set, image, frame in _compressed(distinct(corpus_files)):
        syntax = str(data_set.file_meta.TransferSyntaxUID)
        expected = _reference(data_set, raw=True)
        if expected is None:
            continue
        decoded = codecs.decode(frame, syntax, image)
        was = image.photometric_interpretation
        if decoded.photometric_interpretation == "RGB" and was in ("YBR_FULL", "YBR_FULL_422"):
            expected = _reference(data_set, raw=False)
        values = layout.stored_values(decoded.pixels, image)
        assert expected is not None
        lossy_colour = syntax.endswith(".50") and image.samples_per_pixel == 3
        tolerance = _LOSSY_TOLERANCE if lossy_colour else 0
        if (
            values.shape != expected.shape
            or np.abs(values.astype(np.int64) - expected.astype(np.int64)).max() > tolerance
        ):
            wrong.append(path.name)
        compared[syntax] += 1
    assert not wrong
    assert {uid[-2:] for uid in compared} >= {"50", "70", "80", "90", "91", ".5"}


def test_12_bit_lossy_and_lossless_jpeg_decode_as_dcmtk_does(
    corpus_files: list[Path], tool: Callable[[str], Path], tmp_path: Path
) -> None:
    compared = 0
    for path, data_set, image, frame in _compressed(distinct(corpus_files)):
        syntax = str(data_set.file_meta.TransferSyntaxUID)
        if syntax not in (_EXTENDED, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"):
            continue
        out = tmp_path / "native.dcm"
        command = [str(tool("dcmdjpeg")), "+cn", str(path), str(out)]
        if subprocess.run(command, capture_output=True, check=False, env={**os.environ}).returncode:
            continue
        native = pydicom.dcmread(out)
        pixels = codecs.decode(frame, syntax, image).pixels
        assert layout.pack(pixels, image) == native.PixelData[: image.frame_length], path.name
        compared += 1
    assert compared >= 3


def test_packed_bits_in_rle_and_deflated_frames_decode_as_uncompressed(corpus: Path) -> None:
    folder = corpus / "pydicom-data-git"
    plain = corpus / "pydicom-data" / "liver.dcm"
    if not folder.is_dir() or not plain.is_file():
        pytest.skip("the corpus is absent")
    reference = pydicom.dcmread(plain)
    expected = layout.unpack(reference.PixelData, description_of(reference))
    for name in ("liver_rle.dcm", "liver_deflate.dcm", "liver_j2k.dcm"):
        data_set = pydicom.dcmread(folder / name)
        image = description_of(data_set)
        frame = next(generate_frames(data_set.PixelData, number_of_frames=image.number_of_frames))
        decoded = codecs.decode(frame, str(data_set.file_meta.TransferSyntaxUID), image)
        assert np.array_equal(decoded.pixels, expected), name


@st.composite
def _images(draw: st.DrawFn) -> ImageDescription:
    allocated = draw(st.sampled_from((8, 16)))
    stored = draw(st.integers(2, allocated))
    samples = draw(st.sampled_from((1, 3)))
    return ImageDescription(
        rows=draw(st.integers(32, 40)),
        columns=draw(st.integers(32, 40)),
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        pixel_representation=draw(st.sampled_from((0, 1))),
        photometric_interpretation="RGB" if samples == 3 else "MONOCHROME2",
    )


@settings(max_examples=60, deadline=None)
@given(image=_images(), seed=st.integers(0, 99))
def test_jpeg_2000_gives_back_every_bit_of_every_layout(image: ImageDescription, seed: int) -> None:
    pixels = noise(image, seed)
    stream = codecs.encode_jpeg2000(pixels, image)
    decoded = codecs.decode(stream, codecs.JPEG_2000_LOSSLESS, image)
    assert decoded.pixels.dtype == pixels.dtype
    assert np.array_equal(decoded.pixels, pixels)


def test_a_stream_larger_than_its_data_set_says_is_never_decoded(corpus_files: list[Path]) -> None:
    tried = set()
    for _, data_set, image, frame in _compressed(distinct(corpus_files)):
        syntax = str(data_set.file_meta.TransferSyntaxUID)
        # RLE segments say nothing of rows, and the decoder stops where they are full.
        if syntax in tried or image.rows < 2 or syntax == "1.2.840.10008.1.2.5":
            continue
        tried.add(syntax)
        smaller = ImageDescription(
            **{name: getattr(image, name) for name in ImageDescription.__slots__} | {"rows": image.rows // 2}
        )
        try:
            codecs.decode(frame, syntax, smaller)
        except NotAcceptable:
            continue
        pytest.fail(f"a stream of {syntax} was decoded beyond its data set")
    assert len(tried) >= 6


@pytest.mark.parametrize("syntax", sorted(codecs.CODECS))
@pytest.mark.parametrize("frame", [b"", b"\0" * 100, b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51" + b"\xff" * 80])
def test_garbage_is_refused_with_a_reason(syntax: str, frame: bytes) -> None:
    image = ImageDescription(
        rows=16,
        columns=16,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )
    with pytest.raises(NotAcceptable, match=r"\w{3}"):
        codecs.decode(frame, syntax, image)


def test_an_unknown_transfer_syntax_is_named(corpus_files: list[Path]) -> None:
    _, _, image, frame = next(_compressed(distinct(corpus_files)))
    with pytest.raises(NotAcceptable, match=r"1\.2\.3"):
        codecs.decode(frame, "1.2.3", image)
