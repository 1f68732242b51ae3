"""Pictures: value transforms, colours, aspect and what the web may ask for."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from services.common.errors import GantryError, NotAcceptable
from services.common.pixels.codecs import Decoded
from services.common.pixels.description import ImageDescription
from services.common.pixels.options import THUMBNAIL, RenderOptions, Viewport, Window
from services.common.pixels.pool import CodecPool
from services.common.pixels.render import render
from services.common.pixels.rendering import rendered
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    BIG_ENDIAN,
    EXPLICIT,
    data_set_bytes,
    data_set_of,
    distinct,
    image_data_set,
    store_data_set,
    store_file,
)

_GREY = ImageDescription(
    rows=1,
    columns=5,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
)
_COLOUR = replace(
    _GREY,
    samples_per_pixel=3,
    bits_allocated=8,
    bits_stored=8,
    high_bit=7,
    photometric_interpretation="RGB",
)
_PNG = RenderOptions(media_type="image/png")


def _shown(
    pixels: list[Any],
    image: ImageDescription = _GREY,
    options: RenderOptions = _PNG,
    frame: int = 0,
    **more: Any,
) -> np.ndarray[Any, Any]:
    """What a picture of the pixels shows, given some attributes."""
    data_set = Dataset()
    data_set.PixelRepresentation = image.pixel_representation
    for keyword, value in more.items():
        setattr(data_set, keyword, value)
    dtype = ("i" if image.is_signed else "u") + str(max(1, image.bits_allocated // 8))
    array = np.array(pixels, dtype=dtype)
    image = replace(image, rows=array.shape[0], columns=array.shape[1])
    decoded = Decoded(pixels=array, photometric_interpretation=image.photometric_interpretation)
    content = render(decoded, image, data_set, frame, options)
    return np.asarray(Image.open(io.BytesIO(content)))


def _item(**attributes: Any) -> list[Dataset]:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


def _lut(entries: list[int], first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    return [item]


@pytest.mark.parametrize(
    ("attributes", "values", "levels"),
    [
        # PS3.3 C.11.2.1.2.1: LINEAR, with its half and its one
        ({"WindowCenter": 2048, "WindowWidth": 4096}, [0, 1, 2048, 4094, 4095], [0, 0, 128, 255, 255]),
        ({"WindowCenter": 0.5, "WindowWidth": 1}, [0, 1], [0, 255]),
        # C.11.2.1.3.2
        (
            {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"},
            [0, 50, 100, 150, 200],
            [0, 64, 128, 191, 255],
        ),
        # C.11.2.1.3.1
        (
            {"WindowCenter": 100, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
            [0, 75, 100, 125, 4095],
            [5, 69, 128, 186, 255],
        ),
        # the first of several windows
        ({"WindowCenter": [100, 1], "WindowWidth": [201, 1]}, [0, 200], [1, 255]),
        # C.11.1.1.2: rescale before the window
        (
            {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 0, "WindowWidth": 2001},
            [0, 500, 1000],
            [0, 128, 255],
        ),
        # no window: from the smallest to the largest value
        ({}, [100, 200, 300], [0, 128, 255]),
        ({"PixelPaddingValue": 0}, [0, 100, 300], [0, 0, 255]),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 50}, [0, 40, 100, 300], [0, 0, 0, 255]),
        # C.11.1.1: a Modality LUT takes the place of rescale
        (
            {"ModalityLUTSequence": _lut([0, 1000, 500], 10, 16), "RescaleSlope": 7},
            [9, 10, 11, 12, 13],
            [0, 0, 255, 128, 128],
        ),
        # C.11.2.1.1
        ({"VOILUTSequence": _lut([0, 255, 128], 10, 8)}, [0, 10, 11, 12, 99], [0, 0, 255, 128, 128]),
        # windows that make no sense are none
        ({"WindowCenter": 5, "WindowWidth": 0}, [100, 300], [0, 255]),
        ({"WindowCenter": 5, "WindowWidth": -3}, [100, 300], [0, 255]),
    ],
)
def test_values_become_grey_levels(attributes: dict[str, Any], values: list[int], levels: list[int]) -> None:
    shown = _shown([values], **attributes)[0]
    assert np.abs(shown.astype(int) - levels).max() <= 1, shown


def test_monochrome1_is_inverted() -> None:
    image = replace(_GREY, photometric_interpretation="MONOCHROME1")
    assert _shown([[100, 200, 300]], image).tolist() == [[255, 128, 0]]


def test_signed_values_are_below_zero() -> None:
    image = replace(_GREY, pixel_representation=1)
    shown = _shown([[-2048, -1, 0, 2047]], image, WindowCenter=0, WindowWidth=4096)
    assert shown[0][0] == 0 and shown[0][3] == 255 and 126 <= shown[0][1] <= shown[0][2] <= 128


def test_a_signed_lut_begins_below_zero() -> None:
    image = replace(_GREY, pixel_representation=1)
    assert _shown([[-3, -2, -1]], image, VOILUTSequence=_lut([0, 128, 255], -3, 8)).tolist() == [
        [0, 128, 255]
    ]


def test_32_bit_values_are_shown() -> None:
    image = replace(_GREY, bits_allocated=32, bits_stored=32, high_bit=31)
    assert _shown([[0, 2**31, 2**32 - 1]], image).tolist() == [[0, 128, 255]]


def test_8_bit_images_without_a_window_are_shown_as_they_are() -> None:
    image = replace(_GREY, bits_allocated=8, bits_stored=8, high_bit=7)
    assert _shown([[10, 100, 200]], image).tolist() == [[10, 100, 200]]


def test_single_bits_are_black_and_white() -> None:
    image = replace(_GREY, bits_allocated=1, bits_stored=1, high_bit=0)
    assert _shown([[0, 1]], image).tolist() == [[0, 255]]


def test_a_frame_has_its_own_window_before_the_shared_one() -> None:
    own = _item(FrameVOILUTSequence=_item(WindowCenter="50", WindowWidth="101"))
    groups: dict[str, Any] = {
        "PerFrameFunctionalGroupsSequence": [Dataset(), *own],
        "SharedFunctionalGroupsSequence": _item(
            FrameVOILUTSequence=_item(WindowCenter="500", WindowWidth="1001"),
            PixelValueTransformationSequence=_item(RescaleSlope="10", RescaleIntercept="0"),
        ),
    }
    assert _shown([[0, 50, 100]], frame=0, **groups)[0][2] == 255
    assert 126 <= _shown([[0, 50, 100]], frame=0, **groups)[0][1] <= 128
    assert _shown([[0, 5, 10]], frame=1, **groups)[0][2] == 255


@pytest.mark.parametrize(
    ("space", "samples", "rgb"),
    [
        ("RGB", [10, 20, 30], [10, 20, 30]),
        ("YBR_FULL", [76, 85, 255], [254, 0, 0]),
        ("YBR_FULL_422", [150, 44, 21], [0, 255, 1]),
        ("YBR_PARTIAL", [235, 128, 128], [255, 255, 255]),
        ("YBR_RCT", [1, 2, 3], [1, 2, 3]),
    ],
)
def test_colour_spaces_become_rgb(space: str, samples: list[int], rgb: list[int]) -> None:
    image = replace(_COLOUR, photometric_interpretation=space)
    assert np.abs(_shown([[samples]], image)[0][0].astype(int) - rgb).max() <= 1


def test_16_bit_colours_keep_their_upper_bits() -> None:
    image = replace(_COLOUR, bits_allocated=16, bits_stored=16, high_bit=15)
    assert _shown([[[0xFF00, 0x8000, 0x00FF]]], image).tolist() == [[[255, 128, 0]]]


def test_an_unknown_colour_space_is_refused() -> None:
    with pytest.raises(NotAcceptable, match="CMYK"):
        _shown([[[1, 2, 3]]], replace(_COLOUR, photometric_interpretation="CMYK"))


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_a_palette_gives_colours(bits: int, scale: int) -> None:
    image = replace(
        _GREY, bits_allocated=8, bits_stored=8, high_bit=7, photometric_interpretation="PALETTE COLOR"
    )
    palette: dict[str, Any] = {}
    for name, values in (("Red", [0, 255]), ("Green", [10, 20]), ("Blue", [255, 0])):
        entries = np.array(values, dtype="<u2") * scale
        content = entries.astype("u1" if bits == 8 else "<u2").tobytes()
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, bits]
        palette[f"{name}PaletteColorLookupTableData"] = content
    assert _shown([[0, 1]], image, **palette).tolist() == [[[0, 10, 255], [255, 20, 0]]]


_PALETTE = replace(_GREY, bits_stored=16, high_bit=15, photometric_interpretation="PALETTE COLOR")


def _palette(
    tables: list[list[int]], *, first: int = 0, bits: int = 16, dtype: str = "<u2"
) -> dict[str, Any]:
    """Red, green and blue tables."""
    palette: dict[str, Any] = {}
    for name, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        content = np.array(entries, dtype=dtype).tobytes()
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries), first, bits]
        palette[f"{name}PaletteColorLookupTableData"] = content + bytes(len(content) % 2)
    return palette


def test_a_dark_frame_of_a_bright_palette_is_dark() -> None:
    tables = [[0x0040, 0xFFFF], [0x0080, 0xFFFF], [0x00FF, 0xFFFF]]
    assert _shown([[0, 0]], _PALETTE, **_palette(tables)).tolist() == [[[0, 0, 0], [0, 0, 0]]]


def test_indices_beyond_a_table_of_bytes_take_its_ends() -> None:
    entries = [n % 251 for n in range(301)]
    shown = _shown(
        [[5, 9, 260, 310, 9000]], _PALETTE, **_palette([entries] * 3, first=10, bits=8, dtype="u1")
    )
    assert shown[0, :, 0].tolist() == [0, 0, 250, 300 % 251, 300 % 251]


def test_a_signed_index_begins_below_zero() -> None:
    image = replace(_PALETTE, pixel_representation=1)
    tables = [[10, 20, 30]] * 3
    for first in (-1, 0xFFFF):  # the latter as a reader gives it that takes the descriptor for unsigned
        told = Dataset()
        for name, value in _palette(tables, bits=8).items():
            if name.endswith("Data"):
                setattr(told, name, value)
        for tag in (0x00281101, 0x00281102, 0x00281103):
            told.add_new(tag, "SS" if first < 0 else "US", [3, first, 8])
        attributes = {element.keyword: element.value for element in told}
        assert _shown([[-5, -1, 0, 1]], image, **attributes)[0, :, 0].tolist() == [10, 10, 20, 30]


def test_segments_are_put_together() -> None:
    segmented: dict[str, Any] = {}
    for name in ("Red", "Green", "Blue"):
        words = np.array([0, 2, 0x0100, 0x0200, 1, 4, 0x0600, 0, 1, 0xFF00], dtype="<u2")
        segmented[f"{name}PaletteColorLookupTableDescriptor"] = [7, 0, 16]
        segmented[f"Segmented{name}PaletteColorLookupTableData"] = words.tobytes()
    shown = _shown([[0, 1, 2, 3, 4, 5, 6]], _PALETTE, **segmented)
    assert shown[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 255]


@pytest.mark.parametrize("words", [[1, 4, 600], [0, 5, 1, 2], [0, 1, 7, 2, 1, 0, 0], [9, 1, 1]])
def test_segments_that_cannot_be_are_refused(words: list[int]) -> None:
    broken: dict[str, Any] = {}
    for name in ("Red", "Green", "Blue"):
        broken[f"{name}PaletteColorLookupTableDescriptor"] = [100, 0, 16]
        broken[f"Segmented{name}PaletteColorLookupTableData"] = np.array(words, dtype="<u2").tobytes()
    with pytest.raises(NotAcceptable, match="palette"):
        _shown([[0, 1]], _PALETTE, **broken)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_tables_are_read_in_the_data_set_s_byte_order(syntax: str, codec_pool: CodecPool) -> None:
    """pydicom gives the words of OW as they lie."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    image = replace(_PALETTE, rows=1, columns=2)
    value = np.array([0, 1], dtype=f"{order}u2").tobytes()
    tables = _palette([[0x0100, 0xFE00], [0x0200, 0xFD00], [0x0300, 0xFC00]], dtype=f"{order}u2")
    voi = Dataset()
    voi.LUTDescriptor = [2, 0, 16]
    voi.add_new(0x00283006, "OW", np.array([0xFF00, 0x0100], dtype=f"{order}u2").tobytes())
    grey = replace(image, photometric_interpretation="MONOCHROME2")
    for its, attributes, shown in (
        (image, tables, [[1, 2, 3], [254, 253, 252]]),
        (grey, {"VOILUTSequence": [voi]}, [254, 1]),
    ):
        store = MemoryStore()
        data_set = image_data_set(value, its, **attributes)
        instance = store_data_set(store, data_set_bytes(data_set, syntax), syntax)
        content = rendered(store, data_set_of(instance), syntax, codec_pool, options=_PNG)
        assert np.asarray(Image.open(io.BytesIO(content)))[0].tolist() == shown


def test_a_palette_that_is_missing_is_refused() -> None:
    with pytest.raises(NotAcceptable, match="palette"):
        _shown([[0, 1]], replace(_GREY, photometric_interpretation="PALETTE COLOR"))


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, (100, 50)),
        ({"PixelSpacing": [2, 1]}, (100, 100)),
        ({"PixelSpacing": [1, 2]}, (200, 50)),
        ({"PixelAspectRatio": [4, 1]}, (100, 200)),
        ({"PixelSpacing": [1, 1], "PixelAspectRatio": [4, 1]}, (100, 50)),
        ({"ImagerPixelSpacing": [1, 0]}, (100, 50)),
        (
            {"SharedFunctionalGroupsSequence": _item(PixelMeasuresSequence=_item(PixelSpacing=[3, 1]))},
            (100, 150),
        ),
    ],
)
def test_pixels_are_square_in_the_picture(attributes: dict[str, Any], size: tuple[int, int]) -> None:
    rows, columns = _shown(np.arange(5000).reshape(50, 100).tolist(), **attributes).shape
    assert (columns, rows) == size


def test_a_thumbnail_s_longest_side_has_200_pixels_and_small_images_are_not_enlarged() -> None:
    assert _shown(np.zeros((300, 600)).tolist(), options=THUMBNAIL).shape == (100, 200)
    assert _shown(np.zeros((50, 60)).tolist(), options=THUMBNAIL).shape == (50, 60)


@pytest.mark.parametrize(
    ("viewport", "shown"),
    [
        (Viewport(width=8, height=2), (2, 4)),
        (Viewport(width=2, height=1, source_x=1, source_y=0, source_width=2, source_height=1), [[50, 100]]),
        (Viewport(width=4, height=2, source_width=-4), [[150, 100, 50, 0], [150, 100, 50, 0]]),
        (Viewport(width=4, height=2, source_width=None), [[0, 50, 100, 150], [0, 50, 100, 150]]),
    ],
)
def test_viewports_crop_flip_and_fit(viewport: Viewport, shown: object) -> None:
    image = replace(_GREY, bits_allocated=8, bits_stored=8, high_bit=7)
    picture = _shown([[0, 50, 100, 150]] * 2, image, replace(_PNG, viewport=viewport))
    assert (picture.shape if isinstance(shown, tuple) else picture.tolist()) == shown


@pytest.mark.parametrize(
    "options",
    [
        RenderOptions(media_type="video/mp4"),
        RenderOptions(quality=0),
        RenderOptions(quality=101),
        RenderOptions(viewport=Viewport(width=0, height=10)),
        RenderOptions(viewport=Viewport(width=10**6, height=10)),
        RenderOptions(viewport=Viewport(width=10, height=10, source_x=99, source_width=1)),
    ],
)
def test_what_makes_no_sense_is_refused(options: RenderOptions) -> None:
    with pytest.raises(NotAcceptable):
        _shown([[1, 2, 3]], options=options)


def test_a_window_that_is_asked_for_goes_before_the_data_set_s() -> None:
    options = replace(_PNG, window=Window(centre=150, width=101))
    assert _shown([[100, 150, 200]], options=options, WindowCenter=0, WindowWidth=1).tolist() == [
        [1, 129, 255]
    ]


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/gif"])
def test_the_middle_frame_stands_for_the_whole(media_type: str, codec_pool: CodecPool) -> None:
    image = replace(
        _GREY, rows=40, columns=40, bits_allocated=8, bits_stored=8, high_bit=7, number_of_frames=3
    )
    value = bytes(1600) + b"\xc8" * 1600 + bytes(1600)
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(image_data_set(value, image), EXPLICIT), EXPLICIT)
    options = RenderOptions(media_type=media_type)
    for frame, level in ((None, 200), (0, 0), (1, 200)):
        content = rendered(store, data_set_of(instance), EXPLICIT, codec_pool, options=options, frame=frame)
        picture = Image.open(io.BytesIO(content))
        assert Image.MIME[str(picture.format)] == media_type
        assert abs(int(np.asarray(picture.convert("L"))[20, 20]) - level) <= 1


def test_pictures_of_the_corpus_are_those_of_dcmtk(
    corpus_files: list[Path], codec_pool: CodecPool, tool: Callable[[str], Path], tmp_path: Path
) -> None:
    """Where both have a window of the data set or 8-bit colours to go by."""
    compared = 0
    different = []
    for path in distinct(corpus_files)[::2]:
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None or "pwnlab-fuzz" in path.parts:
            continue
        syntax = instance.transfer_syntax_uid
        try:
            content = rendered(store, data_set_of(instance), syntax, codec_pool, options=_PNG, frame=0)
        except GantryError:
            continue
        out = tmp_path / "dcmtk.png"
        out.unlink(missing_ok=True)
        subprocess.run(
            [str(tool("dcmj2pnm")), "+on", "-O", "+Wi", "1", str(path), str(out)],
            capture_output=True,
            check=False,
        )
        if not out.exists():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
            theirs = np.asarray(Image.open(out).convert("RGB")).astype(int)
        if ours.shape != theirs.shape:  # two resamplings of pixels that are not square
            continue
        compared += 1
        if np.abs(ours - theirs).max() > 2:
            different.append(path.name)
    assert not different
    assert compared > 20
