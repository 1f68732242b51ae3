"""An uncompressed frame lies as the data set's own attributes say, whatever it was compressed as."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import rle
from PIL import Image
from pydicom.encaps import encapsulate

from services.common.errors import NotAcceptable
from services.common.pixels.codecs import encode_jpeg2000
from services.common.pixels.decompression import native_frame
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage
from services.common.pixels.jpeg import read_header
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import opened
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    BIG_ENDIAN,
    EXPLICIT,
    data_set_bytes,
    data_set_of,
    image_data_set,
    store_data_set,
)

JPEG, J2K, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
_RGB = ImageDescription(
    rows=48,
    columns=64,
    samples_per_pixel=3,
    bits_allocated=8,
    bits_stored=8,
    high_bit=7,
    pixel_representation=0,
    photometric_interpretation="RGB",
)


def _noise(image: ImageDescription) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 256, (image.rows, image.columns, 3), dtype=np.uint8)


def _smooth(image: ImageDescription) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Every colour, changing slowly, so that JPEG loses next to nothing."""
    rows, columns = np.mgrid[0 : image.rows, 0 : image.columns]
    return np.stack([rows * 4, columns * 3, 255 - rows * 2 - columns], axis=2).astype(np.uint8)


def _jpeg(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    """A stream of RGB; as `mode` YCbCr the samples are taken for that already, and left alone."""
    out = io.BytesIO()
    height, width = pixels.shape[:2]
    picture = Image.frombytes(mode, (width, height), pixels.tobytes())
    picture.save(out, "JPEG", quality=100, subsampling=0, **options)
    return out.getvalue()


def _without_jfif(stream: bytes) -> bytes:
    """The stream without its APP0 segment, as many modalities write it."""
    length = int.from_bytes(stream[4:6], "big")
    return stream[:2] + stream[4 + length :]


def _frame(image: ImageDescription, stream: bytes, syntax: str, pool: CodecPool) -> bytes:
    data_set = image_data_set(b"", image)
    del data_set[0xFFFCFFFC]
    data_set["PixelData"].VR = "OB"
    data_set.PixelData = encapsulate([stream])
    data_set["PixelData"].is_undefined_length = True
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(data_set, EXPLICIT), syntax)
    with opened(store, data_set_of(instance), syntax) as (reader, header):
        return b"".join(native_frame(StoredImage(reader, header, syntax), 0, pool))


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("space", ["RGB", "YBR_FULL"])
def test_rle_has_planes_only_where_the_data_set_says_so(
    space: str, planar: int, codec_pool: CodecPool
) -> None:
    image = replace(_RGB, photometric_interpretation=space, planar_configuration=planar)
    pixels = _noise(image)
    stream = bytes(rle.utils.encode_pixel_data(pixels.tobytes(), **_rle_options(image)))
    expected = pixels.transpose(2, 0, 1) if planar else pixels
    assert _frame(image, stream, RLE, codec_pool) == expected.tobytes()


def _rle_options(image: ImageDescription) -> dict[str, object]:
    return {
        "rows": image.rows,
        "columns": image.columns,
        "samples_per_pixel": 3,
        "bits_allocated": 8,
        "number_of_frames": 1,
        "pixel_representation": 0,
        "photometric_interpretation": image.photometric_interpretation,
        "byteorder": "<",
    }


@pytest.mark.parametrize("planar", [0, 1])
def test_jpeg_2000_has_planes_only_where_the_data_set_says_so(planar: int, codec_pool: CodecPool) -> None:
    pixels = _noise(_RGB)
    stream = encode_jpeg2000(pixels, _RGB)
    for space in ("RGB", "YBR_FULL", "YBR_RCT"):
        image = replace(_RGB, photometric_interpretation=space, planar_configuration=planar)
        expected = pixels.transpose(2, 0, 1) if planar else pixels
        assert _frame(image, stream, J2K, codec_pool) == expected.tobytes()


@pytest.mark.parametrize("marked", [True, False])
def test_lossy_jpeg_comes_in_the_colour_space_that_the_data_set_says(
    marked: bool, codec_pool: CodecPool
) -> None:
    pixels = _smooth(_RGB)
    stream = _jpeg(pixels)
    if not marked:
        stream = _without_jfif(stream)
    ybr = np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(int)
    for planar in (0, 1):
        image = replace(_RGB, photometric_interpretation="YBR_FULL", planar_configuration=planar)
        frame = np.frombuffer(_frame(image, stream, JPEG, codec_pool), "u1")
        found = frame.reshape(3, 48, 64).transpose(1, 2, 0) if planar else frame.reshape(48, 64, 3)
        assert np.abs(found - ybr).max() <= 2
    shared = replace(_RGB, photometric_interpretation="YBR_FULL_422")
    pairs = np.frombuffer(_frame(shared, stream, JPEG, codec_pool), "u1").reshape(48, 32, 4).astype(int)
    assert np.abs(pairs[..., :2].reshape(48, 64) - ybr[..., 0]).max() <= 2
    assert np.abs(pairs[..., 2:] - ybr[..., 1:].reshape(48, 32, 2, 2).mean(axis=2)).max() <= 2


@pytest.mark.parametrize(
    ("options", "colours"), [({}, "YBR_FULL"), ({"keep_rgb": True}, "RGB")], ids=["JFIF", "Adobe"]
)
@pytest.mark.parametrize("space", ["RGB", "YBR_FULL"])
def test_what_a_jpeg_stream_says_of_its_colours_goes_before_what_the_data_set_says(
    options: dict[str, bool], colours: str, space: str, codec_pool: CodecPool
) -> None:
    pixels = _smooth(_RGB)
    stream = _jpeg(pixels, **options)
    assert read_header(stream).colours == colours
    expected = np.asarray(Image.fromarray(pixels).convert("YCbCr")) if space == "YBR_FULL" else pixels
    frame = _frame(replace(_RGB, photometric_interpretation=space), stream, JPEG, codec_pool)
    assert np.abs(np.frombuffer(frame, "u1").reshape(48, 64, 3).astype(int) - expected).max() <= 3


def test_components_of_a_stream_that_says_nothing_are_what_the_data_set_says(codec_pool: CodecPool) -> None:
    """RGB without any marker: left alone, decoders would take it for luminance and chrominance."""
    pixels = _smooth(_RGB)
    stream = _without_jfif(_jpeg(pixels, "YCbCr"))
    assert read_header(stream).colours == ""
    frame = _frame(_RGB, stream, JPEG, codec_pool)
    assert np.abs(np.frombuffer(frame, "u1").reshape(48, 64, 3).astype(int) - pixels).max() <= 2


@pytest.mark.parametrize(
    ("image", "syntax", "reason"),
    [
        (replace(_RGB, photometric_interpretation="YBR_FULL_422", columns=63), JPEG, "odd length"),
        (replace(_RGB, photometric_interpretation="YBR_PARTIAL_422"), JPEG, "holds RGB"),
        (replace(_RGB, photometric_interpretation="YBR_FULL_420"), JPEG, "YBR_FULL_420"),
        (replace(_RGB, photometric_interpretation="YBR_FULL_422"), J2K, "chrominance for each pixel"),
    ],
)
def test_what_cannot_lie_as_the_data_set_says_is_refused(
    image: ImageDescription, syntax: str, reason: str, codec_pool: CodecPool
) -> None:
    pixels = _noise(image)
    stream = _jpeg(pixels) if syntax == JPEG else encode_jpeg2000(pixels, replace(image, columns=64))
    with pytest.raises(NotAcceptable, match=reason):
        _frame(image, stream, syntax, codec_pool)


def test_big_endian_words_across_frames_are_refused(codec_pool: CodecPool) -> None:
    image = replace(
        _RGB, rows=3, columns=3, samples_per_pixel=1, photometric_interpretation="MONOCHROME2",
        number_of_frames=2,
    )  # fmt: skip
    data_set = image_data_set(bytes(range(18)), image)
    data_set["PixelData"].VR = "OW"
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(data_set, BIG_ENDIAN), BIG_ENDIAN)
    with opened(store, data_set_of(instance), BIG_ENDIAN) as (reader, header):
        stored = StoredImage(reader, header, BIG_ENDIAN)
        with pytest.raises(NotAcceptable, match="odd length"):
            b"".join(native_frame(stored, 1, codec_pool))
