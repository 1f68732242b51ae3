"""JPEG in its older forms (ISO/IEC 10918-1): what a stream says of itself, and its two decoders.

8-bit lossy streams go to Pillow (libjpeg-turbo), 12-bit and lossless ones to GDCM.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import gdcm
import numpy as np
from PIL import Image

from services.common.errors import NotAcceptable
from services.common.pixels.description import ImageDescription
from services.common.pixels.layout import Pixels, container

_FRAME_MARKERS = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_START_OF_SCAN = 0xDA
_JFIF_MARKER, _JFIF_LENGTH = 0xE0, 14
_ADOBE_MARKER, _ADOBE_LENGTH = 0xEE, 12
"""The decoder overlooks shorter segments; the last byte of Adobe's tells the colour transform."""
RGB, YBR_FULL = "RGB", "YBR_FULL"
_STANDALONE = (0x01, *range(0xD0, 0xD9))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHeader:
    """The frame header of a JPEG or JPEG-LS stream, and what it says its components are."""

    rows: int
    columns: int
    components: int
    precision: int
    is_lossless: bool
    colours: str
    """`RGB` or `YBR_FULL` where a JFIF or Adobe segment, or components called R, G and B, leave no doubt."""


def read_header(stream: bytes) -> StreamHeader:
    """The markers up to the first scan.

    Raises:
        NotAcceptable: there is no frame header where there should be one.
    """
    at, jfif, adobe = 2, "", ""
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            break
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        if marker == _START_OF_SCAN:
            break
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at + 4 : at + 2 + length]
        if marker in _FRAME_MARKERS and len(segment) >= 6:
            names = bytes(segment[6 + 3 * i] for i in range(segment[5]) if 6 + 3 * i < len(segment))
            return StreamHeader(
                rows=int.from_bytes(segment[1:3], "big"),
                columns=int.from_bytes(segment[3:5], "big"),
                components=segment[5],
                precision=segment[0],
                is_lossless=marker in _LOSSLESS,
                colours=jfif or adobe or (RGB if names == b"RGB" else ""),
            )
        if marker == _JFIF_MARKER and segment[:5] == b"JFIF\0" and len(segment) >= _JFIF_LENGTH:
            jfif = YBR_FULL
        if marker == _ADOBE_MARKER and segment[:5] == b"Adobe" and len(segment) >= _ADOBE_LENGTH:
            adobe = YBR_FULL if segment[_ADOBE_LENGTH - 1] else RGB
        at += 2 + length
    raise NotAcceptable("the frame is no JPEG stream")


def check(header: StreamHeader, image: ImageDescription) -> None:
    """A stream that is larger than its data set says is never decoded.

    Raises:
        NotAcceptable: the stream and the data set contradict each other.
    """
    says = (header.rows, header.columns, header.components)
    if says != (image.rows, image.columns, image.samples_per_pixel):
        raise NotAcceptable(
            f"the stream has {header.rows} x {header.columns} x {header.components} samples,"
            f" the data set says {image.rows} x {image.columns} x {image.samples_per_pixel}"
        )
    if header.precision > image.bits_allocated:
        raise NotAcceptable(f"the stream has {header.precision} bits, {image.bits_allocated} are allocated")


def decode_lossy(stream: bytes, header: StreamHeader, image: ImageDescription, wanted: str) -> Pixels:
    """An 8-bit stream; where it has colours, as RGB, or as YBR_FULL where that is `wanted`.

    Where the stream does not say what its components are, the data set decides; left alone, the
    decoder would take them for luminance and chrominance.
    """
    in_colour = header.components == 3
    coded = header.colours or (RGB if image.photometric_interpretation == RGB else YBR_FULL)
    with Image.open(io.BytesIO(stream), formats=["JPEG"]) as picture:
        if in_colour and (coded == wanted == YBR_FULL or (coded == RGB and not header.colours)):
            # Asked for luminance and chrominance, the decoder leaves the components as they are.
            picture.draft("YCbCr", picture.size)
        pixels = np.asarray(picture)
    if in_colour and coded == RGB and wanted == YBR_FULL:
        pixels = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    return pixels.astype(container(image), copy=False)


def decode_with_gdcm(stream: bytes, transfer_syntax_uid: str, image: ImageDescription) -> Pixels:
    """A 12-bit or lossless stream; its colours are left as they are."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = gdcm.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((image.columns, image.rows, 1))
    picture.SetDataElement(element)
    colours = "MONOCHROME2" if image.samples_per_pixel == 1 else "RGB"
    picture.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(colours))
    )
    picture.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(transfer_syntax_uid)))
    picture.SetPixelFormat(
        gdcm.PixelFormat(
            image.samples_per_pixel,
            image.bits_allocated,
            image.bits_stored,
            image.high_bit,
            image.pixel_representation,
        )
    )
    # GDCM hands its buffer out as text in which every byte stands for itself.
    value = picture.GetBuffer().encode("utf-8", "surrogateescape")
    shape = (image.rows, image.columns, image.samples_per_pixel)[: 2 if image.samples_per_pixel == 1 else 3]
    if len(value) != image.rows * image.columns * image.samples_per_pixel * image.bits_allocated // 8:
        raise NotAcceptable("GDCM cannot decode the stream")
    return np.frombuffer(value, dtype=container(image)).reshape(shape)
