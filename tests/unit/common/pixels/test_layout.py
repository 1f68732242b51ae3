"""Uncompressed bytes to pixels and back, in every layout of PS3.5 8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import NotAcceptable
from services.common.pixels import layout
from services.common.pixels.description import ImageDescription


@st.composite
def _images(draw: st.DrawFn) -> ImageDescription:
    allocated = draw(st.sampled_from((1, 8, 16, 32)))
    samples = 1 if allocated == 1 else draw(st.sampled_from((1, 3)))
    subsampled = samples == 3 and draw(st.booleans())
    columns = draw(st.integers(1, 9))
    return ImageDescription(
        rows=draw(st.integers(1, 9)),
        columns=columns * 2 if subsampled else columns,
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=allocated,
        high_bit=allocated - 1,
        pixel_representation=draw(st.sampled_from((0, 1))),
        photometric_interpretation=("YBR_FULL_422" if subsampled else "RGB")
        if samples == 3
        else "MONOCHROME2",
        planar_configuration=0 if subsampled else draw(st.sampled_from((0, 1))),
    )


@settings(max_examples=200, deadline=None)
@given(image=_images(), order=st.sampled_from(("<", ">")), seed=st.integers(0, 99))
def test_every_layout_comes_back_to_the_byte(
    image: ImageDescription, order: layout.ByteOrder, seed: int
) -> None:
    value = np.random.default_rng(seed).bytes(image.frame_length)
    if image.bits_allocated == 1:
        unused = -image.frame_bits % 8
        value = value[:-1] + bytes([value[-1] & (0xFF >> unused)])
    if order == ">" and image.bits_allocated == 8 and image.frame_length % 2:
        with pytest.raises(NotAcceptable):
            layout.unpack(value, image, byte_order=order)
        return
    pixels = layout.unpack(value, image, byte_order=order)
    assert pixels.shape[:2] == (image.rows, image.columns)
    assert layout.pack(pixels, image, byte_order=order) == value


def _image(**changes: object) -> ImageDescription:
    plain: dict[str, object] = {
        "rows": 1,
        "columns": 4,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
        "pixel_representation": 1,
        "photometric_interpretation": "MONOCHROME2",
    }
    return ImageDescription(**(plain | changes))  # type: ignore[arg-type]


def test_bits_of_a_frame_that_begins_inside_a_byte() -> None:
    image = _image(bits_allocated=1, bits_stored=1, high_bit=0, pixel_representation=0)
    pixels = layout.unpack(bytes([0b01011000, 0b1]), image, first_bit=3)
    assert pixels.tolist() == [[1, 1, 0, 1]]


def test_signed_values_lose_overlays_above_and_gain_their_sign() -> None:
    pixels = np.array([[0xF7FF, 0x1800, 0x0FFF, 0x7001]], dtype="<u2").view("<i2")
    assert layout.stored_values(pixels, _image()).tolist() == [[2047, -2048, -1, 1]]


def test_values_stored_in_the_upper_bits_are_shifted_down() -> None:
    pixels = np.array([[0xFFF0, 0x0010, 0x001F, 0x8000]], dtype="<u2")
    image = _image(high_bit=15, pixel_representation=0)
    assert layout.stored_values(pixels, image).tolist() == [[4095, 1, 1, 2048]]


def test_big_endian_bytes_of_an_odd_frame_reach_into_the_padding() -> None:
    image = _image(columns=3, bits_allocated=8, bits_stored=8, high_bit=7, pixel_representation=0)
    assert layout.unpack(b"\x02\x01\x00\x03", image, byte_order=">").tolist() == [[1, 2, 3]]


def test_a_short_value_is_refused() -> None:
    with pytest.raises(NotAcceptable, match="7 bytes and needs 8"):
        layout.unpack(bytes(7), _image())
