"""What a data set says about its pixels, checked before a byte of them is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.common.errors import NotAcceptable
from services.common.part10 import DataSet

MAX_FRAME_BYTES = 256 * 2**20
"""The largest frame, decoded, that a codec process is asked to hold."""

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_ONE_SAMPLE = (*MONOCHROME, "PALETTE COLOR")
SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")
"""Uncompressed, their chrominance is sampled once for two pixels of a row (PS3.3 C.7.6.3.1.2)."""

LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_TRANSFORMED = ("YBR_RCT", "YBR_ICT")
"""Colour transforms inside a code stream, which decoding undoes (PS3.5 8.2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDescription:
    """The Image Pixel Module (PS3.3 C.7.6.3) of an image that Gantry can hold in memory frame by frame.

    Raises:
        NotAcceptable: a value is impossible, or a frame would be larger than `MAX_FRAME_BYTES`.
    """

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int = 0
    number_of_frames: int = 1

    def __post_init__(self) -> None:
        reason = _first(
            (not 1 <= self.rows <= 65535, f"Rows is {self.rows}"),
            (not 1 <= self.columns <= 65535, f"Columns is {self.columns}"),
            (self.samples_per_pixel not in (1, 3), f"Samples per Pixel is {self.samples_per_pixel}"),
            (self.bits_allocated not in (1, 8, 16, 32), f"Bits Allocated is {self.bits_allocated}"),
            (not 1 <= self.bits_stored <= self.bits_allocated, f"Bits Stored is {self.bits_stored}"),
            (not self.bits_stored - 1 <= self.high_bit < self.bits_allocated, f"High Bit is {self.high_bit}"),
            (self.pixel_representation not in (0, 1), f"Pixel Representation is {self.pixel_representation}"),
            (self.planar_configuration not in (0, 1), f"Planar Configuration is {self.planar_configuration}"),
            (not 1 <= self.number_of_frames < 2**31, f"Number of Frames is {self.number_of_frames}"),
            (
                self.samples_per_pixel == 3 and self.photometric_interpretation in _ONE_SAMPLE,
                f"{self.photometric_interpretation} has three samples per pixel",
            ),
            (self.samples_per_pixel == 3 and self.bits_allocated == 1, "a colour sample has one bit"),
            (self.frame_length > MAX_FRAME_BYTES, f"a frame has {self.frame_length} bytes"),
        )
        if reason:
            raise NotAcceptable(f"the image cannot be decoded: {reason}")

    @property
    def is_signed(self) -> bool:
        """Whether stored values are two's complement (PS3.5 8.1.1)."""
        return self.pixel_representation == 1

    @property
    def is_subsampled(self) -> bool:
        """Whether an uncompressed frame holds two samples per pixel in place of three."""
        return self.samples_per_pixel == 3 and self.photometric_interpretation in SUBSAMPLED

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame; frames follow each other without padding (PS3.5 8.1.1)."""
        samples = 2 if self.is_subsampled else self.samples_per_pixel
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_length(self) -> int:
        """Bytes that hold one uncompressed frame."""
        return (self.frame_bits + 7) // 8

    @property
    def value_length(self) -> int:
        """Bytes of all uncompressed frames, without the padding to an even length."""
        return (self.frame_bits * self.number_of_frames + 7) // 8


def _first(*checks: tuple[bool, str]) -> str:
    return next((reason for failed, reason in checks if failed), "")


def describe(header: DataSet) -> ImageDescription:
    """The image that a header describes.

    High Bit follows from Bits Stored where it is absent or impossible, for old images have it wrong; an
    image of one frame may leave their number out, and any image the photometric interpretation.

    Raises:
        NotAcceptable: an attribute is missing or impossible.
    """
    bits_allocated = _number(header, "BitsAllocated")
    bits_stored = _number(header, "BitsStored", bits_allocated)
    samples = _number(header, "SamplesPerPixel", 1)
    high_bit = _number(header, "HighBit", bits_stored - 1)
    return ImageDescription(
        rows=_number(header, "Rows"),
        columns=_number(header, "Columns"),
        samples_per_pixel=samples,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit if bits_stored <= high_bit + 1 <= bits_allocated else bits_stored - 1,
        pixel_representation=_number(header, "PixelRepresentation", 0),
        photometric_interpretation=(header.text("PhotometricInterpretation") or "").strip().upper()
        or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar_configuration=_number(header, "PlanarConfiguration", 0) if samples > 1 else 0,
        number_of_frames=_number(header, "NumberOfFrames", 1) or 1,
    )


def _number(header: DataSet, keyword: str, default: int | None = None) -> int:
    text = (header.text(keyword) or "").split("\\")[0].strip()
    if not text and default is not None:
        return default
    try:
        return int(text)
    except ValueError:
        reason = f"its {keyword} is no number" if text else f"it has no {keyword}"
        raise NotAcceptable(f"the image cannot be decoded: {reason}") from None


def decoded_description(image: ImageDescription, transfer_syntax_uid: str) -> ImageDescription:
    """What an encapsulated image is once it is decoded: without sub-sampling, colour by pixel, and RGB where
    decoding undoes a colour transform (PS3.5 8.2.1 and 8.2.4).
    """
    if image.samples_per_pixel == 1:
        return image
    interpretation = image.photometric_interpretation.removesuffix("_422").removesuffix("_420")
    if transfer_syntax_uid in LOSSY_JPEG or interpretation in _TRANSFORMED:
        interpretation = "RGB"
    return replace(image, photometric_interpretation=interpretation, planar_configuration=0)


def frame_description(image: ImageDescription) -> ImageDescription:
    """What an uncompressed frame is for somebody who has the attributes of `image` and nothing else.

    It lies as they say: its colours, their planes, their sub-sampling.  Only a colour transform of
    JPEG 2000, which no uncompressed pixels can have, stands for RGB.

    Raises:
        NotAcceptable: they name a sub-sampling that no uncompressed pixels have.
    """
    if image.photometric_interpretation.endswith("_420"):
        raise NotAcceptable(f"no uncompressed frame is {image.photometric_interpretation[:16]}")
    if image.photometric_interpretation in _TRANSFORMED:
        return replace(image, photometric_interpretation="RGB")
    return image
