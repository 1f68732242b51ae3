"""The table of codecs: which library decodes which transfer syntax, and what comes out.

Every function here may meet foreign bytes and runs in a codec process only
(`docs/adr/0004-pixel-codecs.md`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jpeg_ls
import numpy as np
import openjpeg
import rle
from numpy.typing import NDArray

from services.common.errors import NotAcceptable
from services.common.pixels import jpeg, layout
from services.common.pixels.description import SUBSAMPLED, ImageDescription
from services.common.pixels.layout import Pixels

JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
_RLE_HEADER_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One frame, and what its samples mean now (a decoder may have undone a colour transform)."""

    pixels: Pixels
    photometric_interpretation: str


class BrokenStream(NotAcceptable):
    """A library failed at a frame; what it said of that is the error's cause, and knows pixels only."""


class Codec(Protocol):
    """Makes the pixels of one frame."""

    def __call__(self, frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
        """Decode `frame`, which must be what `image` says.

        A codec that has the choice gives the photometric interpretation `wanted`.

        Raises:
            NotAcceptable: the frame contradicts the description.
        """


def decode(frame: bytes, transfer_syntax_uid: str, image: ImageDescription, wanted: str = "RGB") -> Decoded:
    """The pixels of an encapsulated frame, as `wanted` where lossy colour JPEG leaves the choice.

    Raises:
        NotAcceptable: there is no codec for the transfer syntax, or the frame cannot be decoded.
    """
    codec = CODECS.get(transfer_syntax_uid)
    if codec is None:
        raise NotAcceptable(f"no codec decodes transfer syntax {transfer_syntax_uid}")
    try:
        return codec(frame, image, wanted)
    except MemoryError as exc:
        raise NotAcceptable("the frame cannot be decoded within the memory of a codec process") from exc
    except (OSError, RuntimeError, ValueError, TypeError, IndexError, zlib.error) as exc:
        raise BrokenStream("the frame cannot be decoded: its code stream is broken or unusual") from exc


def encode_jpeg2000(pixels: Pixels, image: ImageDescription) -> bytes:
    """A lossless JPEG 2000 code stream without colour transform, of any pixels that `image` can hold.

    Its precision is Bits Stored.

    Raises:
        NotAcceptable: the pixels cannot be held, or not without loss.
    """
    try:
        stream = openjpeg.utils.encode_array(
            np.ascontiguousarray(pixels), bits_stored=_precision(pixels, image), use_mct=False
        )
    except (RuntimeError, ValueError, MemoryError) as exc:
        raise BrokenStream("the frame cannot be encoded as JPEG 2000") from exc
    return bytes(stream)


def _precision(pixels: Pixels, image: ImageDescription) -> int:
    """Bits Stored, which is what a receiver takes the code stream's precision to be.

    Raises:
        NotAcceptable: the samples lie elsewhere, or use bits beyond (PS3.5 8.1.1), for example an overlay.
    """
    if image.bits_stored == 1:
        raise NotAcceptable("the encoder does not give single bits back reliably")
    span = 1 << image.bits_stored
    low = -span // 2 if image.is_signed else 0
    fits = low <= int(pixels.min()) and int(pixels.max()) < low + span
    if image.high_bit != image.bits_stored - 1 or not fits:
        raise NotAcceptable("its samples use bits beyond those that Bits Stored and High Bit name")
    return image.bits_stored


def _rle(frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
    whole = replace(image, photometric_interpretation=_full(image), planar_configuration=1)
    if image.bits_allocated == 1:
        # One segment of packed bits, which the library's own frame decoder takes for one byte per pixel.
        value = rle.utils.decode_segment(frame[_RLE_HEADER_LENGTH:])
    else:
        value = rle.utils.decode_frame(frame, image.rows * image.columns, image.bits_allocated, "<")
    pixels = layout.unpack(value, whole)
    return Decoded(pixels=pixels, photometric_interpretation=whole.photometric_interpretation)


def _deflated_frame(frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
    whole = replace(image, photometric_interpretation=_full(image))
    value = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, whole.frame_length + 2)
    if len(value) > whole.frame_length + 1:
        raise NotAcceptable("a deflated frame is longer than its data set says")
    return Decoded(
        pixels=layout.unpack(value, whole), photometric_interpretation=whole.photometric_interpretation
    )


def _jpeg(transfer_syntax_uid: str) -> Codec:
    def decode_jpeg(frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
        header = jpeg.read_header(frame)
        jpeg.check(header, image)
        if not header.is_lossless and header.precision == 8:
            colours = jpeg.YBR_FULL if wanted in (jpeg.YBR_FULL, f"{jpeg.YBR_FULL}_422") else jpeg.RGB
            pixels = jpeg.decode_lossy(frame, header, image, colours)
            interpretation = colours if image.samples_per_pixel == 3 else image.photometric_interpretation
        elif header.is_lossless or image.samples_per_pixel == 1:
            pixels = jpeg.decode_with_gdcm(frame, transfer_syntax_uid, image)
            interpretation = _full(image)
        else:
            raise NotAcceptable(f"no codec decodes {header.precision}-bit lossy JPEG in colour")
        return Decoded(pixels=pixels, photometric_interpretation=interpretation)

    return decode_jpeg


def _jpeg_ls(frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
    jpeg.check(jpeg.read_header(frame), image)
    value, info = jpeg_ls.decode_pixel_data(frame)
    dtype = "u1" if info["bits_per_sample"] <= 8 else "<u2"
    samples: NDArray[Any] = np.frombuffer(value, dtype=dtype)
    if image.samples_per_pixel == 3 and info["interleave_mode"] == 0:
        samples = samples.reshape(3, image.rows, image.columns).transpose(1, 2, 0)
    return Decoded(
        pixels=_fit(samples, info["bits_per_sample"], image), photometric_interpretation=_full(image)
    )


def _jpeg2000(frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
    info = openjpeg.get_parameters(frame)
    jpeg.check(
        jpeg.StreamHeader(
            rows=info["rows"],
            columns=info["columns"],
            components=info["samples_per_pixel"],
            precision=info["precision"],
            is_lossless=False,
            colours="",
        ),
        image,
    )
    value = openjpeg.decode_pixel_data(frame, version=2)
    size = {1: 1, 2: 2}.get((info["precision"] + 7) // 8, 4)
    samples = np.frombuffer(value, dtype=f"<{'i' if info['is_signed'] else 'u'}{size}")
    # The reversible and irreversible colour transforms are undone by the decoder (PS3.5 8.2.4).
    transformed = image.photometric_interpretation in ("YBR_RCT", "YBR_ICT")
    return Decoded(
        pixels=_fit(samples, info["precision"], image),
        photometric_interpretation="RGB" if transformed else _full(image),
    )


def _fit(samples: NDArray[Any], precision: int, image: ImageDescription) -> Pixels:
    """Samples of `precision` bits in the container and with the sign that the data set says.

    Streams whose own sign differs from Pixel Representation are common; the bits are what counts.
    """
    shape = (image.rows, image.columns) + ((3,) if image.samples_per_pixel == 3 else ())
    width = 8 * samples.dtype.itemsize
    kind = "i" if image.is_signed and image.bits_allocated > 1 else "u"
    signed = samples.reshape(shape).view(f"<{kind}{samples.dtype.itemsize}") << (width - precision)
    return (signed >> (width - precision)).astype(layout.container(image), copy=False)


def _full(image: ImageDescription) -> str:
    """Decoders give every pixel its chrominance; sub-sampling is a thing of uncompressed frames."""
    interpretation = image.photometric_interpretation
    return interpretation.removesuffix("_422") if interpretation in SUBSAMPLED else interpretation


CODECS: Mapping[str, Codec] = {
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.8.1": _deflated_frame,
    **{uid: _jpeg(uid) for uid in (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))},
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), _jpeg_ls),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)), _jpeg2000),
}
"""By transfer syntax UID; what is not here and not uncompressed cannot be decoded."""
