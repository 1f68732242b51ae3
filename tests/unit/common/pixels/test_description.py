"""What is refused before a byte of the pixels is touched."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset

from services.common.errors import NotAcceptable
from services.common.part10 import Header, HeaderScanner
from services.common.pixels.description import ImageDescription, decoded_description, describe
from tests.unit.common.pixels.images import EXPLICIT, data_set_bytes

_CT = {
    "Rows": 512,
    "Columns": 512,
    "SamplesPerPixel": 1,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 1,
    "PhotometricInterpretation": "MONOCHROME2",
}


def _header(**changes: object) -> Header:
    data_set = Dataset()
    for keyword, value in (_CT | changes).items():
        if value is not None:
            setattr(data_set, keyword, value)
    scanner = HeaderScanner(EXPLICIT)
    scanner.feed(BytesIO(data_set_bytes(data_set, EXPLICIT)).getvalue())
    return Header(scanner.finish(), EXPLICIT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 0}, "Rows is 0"),
        ({"Columns": None}, "it has no Columns"),
        ({"BitsAllocated": 24}, "Bits Allocated is 24"),
        ({"BitsStored": 17}, "Bits Stored is 17"),
        ({"SamplesPerPixel": 4}, "Samples per Pixel is 4"),
        ({"NumberOfFrames": "-3"}, "Number of Frames is -3"),
        ({"NumberOfFrames": "99999999999"}, "Number of Frames is 99999999999"),
        ({"PixelRepresentation": 2}, "Pixel Representation is 2"),
        ({"SamplesPerPixel": 3}, "MONOCHROME2 has three samples"),
        ({"Rows": 65535, "Columns": 65535}, "a frame has 8589672450 bytes"),
    ],
)
def test_an_impossible_image_is_refused_by_name(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(NotAcceptable, match=reason):
        describe(_header(**changes))


@pytest.mark.parametrize("high_bit", [0, 10, 16, 200, None])
def test_an_impossible_high_bit_follows_from_bits_stored(high_bit: int | None) -> None:
    assert describe(_header(HighBit=high_bit)).high_bit == 11


def test_values_stored_in_the_upper_bits_are_believed() -> None:
    assert describe(_header(HighBit=15)).high_bit == 15


def test_lengths_of_packed_bits_are_rounded_up_once_for_all_frames() -> None:
    image = describe(_header(Rows=3, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames="3"))
    assert (image.frame_bits, image.frame_length, image.value_length) == (9, 2, 4)


@pytest.mark.parametrize(
    ("syntax", "before", "after"),
    [
        ("1.2.840.10008.1.2.4.50", "YBR_FULL_422", "RGB"),
        ("1.2.840.10008.1.2.4.50", "RGB", "RGB"),
        ("1.2.840.10008.1.2.4.90", "YBR_RCT", "RGB"),
        ("1.2.840.10008.1.2.4.91", "YBR_ICT", "RGB"),
        ("1.2.840.10008.1.2.4.90", "YBR_FULL", "YBR_FULL"),
        ("1.2.840.10008.1.2.5", "YBR_FULL", "YBR_FULL"),
    ],
)
def test_what_decoding_makes_of_colours(syntax: str, before: str, after: str) -> None:
    image: ImageDescription = describe(
        _header(
            SamplesPerPixel=3,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PhotometricInterpretation=before,
            PlanarConfiguration=1,
        )
    )
    decoded = decoded_description(image, syntax)
    assert (decoded.photometric_interpretation, decoded.planar_configuration) == (after, 0)
