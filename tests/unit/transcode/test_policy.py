"""Which images get a lossless rendition."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.pixels.description import ImageDescription
from services.transcode.policy import refusal

_CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
_CT = ImageDescription(
    rows=512,
    columns=512,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=1,
    photometric_interpretation="MONOCHROME2",
)


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
    ],
)
def test_uncompressed_and_lossless_originals_get_one(syntax: str) -> None:
    assert refusal(_CT_CLASS, syntax, _CT) == ""


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        ("1.2.840.10008.1.2.4.50", "lossy"),
        ("1.2.840.10008.1.2.4.51", "lossy"),
        ("1.2.840.10008.1.2.4.81", "lossy"),
        ("1.2.840.10008.1.2.4.90", "JPEG 2000 already"),
        ("1.2.840.10008.1.2.4.91", "JPEG 2000 already"),
        ("1.2.840.10008.1.2.4.201", "JPEG 2000 already"),
        ("1.2.840.10008.1.2.4.102", "lossy or unknown"),
        ("1.2.3", "unknown"),
    ],
)
def test_lossy_and_jpeg_2000_originals_get_none(syntax: str, reason: str) -> None:
    assert reason in refusal(_CT_CLASS, syntax, _CT)


@pytest.mark.parametrize("bits", [1, 32])
def test_single_bits_and_long_words_get_none(bits: int) -> None:
    image = replace(_CT, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1)
    assert f"{bits} bits" in refusal(_CT_CLASS, "1.2.840.10008.1.2.1", image)


def test_what_the_encoder_cannot_halve_gets_none() -> None:
    assert "fewer than 32" in refusal(_CT_CLASS, "1.2.840.10008.1.2.1", replace(_CT, rows=31))


@pytest.mark.parametrize("number", [1, 2])
def test_radiotherapy_images_and_doses_get_none(number: int) -> None:
    sop_class = f"1.2.840.10008.5.1.4.1.1.481.{number}"
    assert "radiotherapy" in refusal(sop_class, "1.2.840.10008.1.2.1", _CT)
