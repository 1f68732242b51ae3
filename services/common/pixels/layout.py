"""Uncompressed pixels: from the bytes of a Pixel Data value to an array, and back to the very same bytes.

PS3.5 8.1 and 8.2.  `byte_order` ``>`` stands for a value whose 16-bit or 32-bit words are big-endian; in
Explicit VR Big Endian that concerns 8-bit samples too, where the value's VR is OW (PS3.5 A.3).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.common.errors import NotAcceptable
from services.common.pixels.description import ImageDescription

ByteOrder = Literal["<", ">"]
Pixels = NDArray[Any]
"""(rows, columns) or (rows, columns, 3), in the smallest container for Bits Allocated."""


def container(image: ImageDescription) -> np.dtype[Any]:
    """The type that holds a sample as allocated, high bits included; a single bit takes a byte."""
    kind = "i" if image.is_signed and image.bits_allocated > 1 else "u"
    return np.dtype(f"<{kind}{max(1, image.bits_allocated // 8)}")


def unpack(
    value: bytes | bytearray | memoryview,
    image: ImageDescription,
    *,
    byte_order: ByteOrder = "<",
    first_bit: int = 0,
) -> Pixels:
    """The frame that begins at bit `first_bit` of `value`'s first byte.

    Raises:
        NotAcceptable: the value is shorter than the frame, or lies in a way that splits a word.
    """
    if len(value) * 8 < image.frame_bits + first_bit:
        raise NotAcceptable(f"a frame has {len(value)} bytes and needs {image.frame_length}")
    if image.bits_allocated == 1:
        count = image.rows * image.columns
        packed = np.frombuffer(value, dtype="u1", count=(count + first_bit + 7) // 8)
        bits = np.unpackbits(packed, bitorder="little")[first_bit : first_bit + count]
        return bits.reshape(image.rows, image.columns)
    if image.bits_allocated == 8 and byte_order == ">":
        words = image.frame_length // 2 + image.frame_length % 2
        if len(value) < 2 * words:
            raise NotAcceptable("8-bit pixels in big-endian words do not fill a frame of an odd length")
        value = np.frombuffer(value, dtype="u2", count=words).byteswap().tobytes()
    dtype = container(image).newbyteorder(byte_order)
    flat = np.frombuffer(value, dtype=dtype, count=image.frame_length // dtype.itemsize)
    return _shape(flat, image).astype(container(image), copy=False)


def pack(pixels: Pixels, image: ImageDescription, *, byte_order: ByteOrder = "<") -> bytes:
    """The bytes of one frame as `image` lays them out; the inverse of `unpack`."""
    if image.bits_allocated == 1:
        return np.packbits(pixels.reshape(-1).astype(bool), bitorder="little").tobytes()
    if image.is_subsampled:
        flat = np.empty((image.rows, image.columns // 2, 4), dtype=pixels.dtype)
        flat[..., 0:2] = pixels[..., 0].reshape(image.rows, -1, 2)
        flat[..., 2:4] = pixels[:, ::2, 1:3]
    elif image.samples_per_pixel == 3 and image.planar_configuration == 1:
        flat = pixels.transpose(2, 0, 1)
    else:
        flat = pixels
    if image.bits_allocated == 8 and byte_order == ">":
        if image.frame_length % 2:
            raise NotAcceptable("8-bit pixels in big-endian words do not fill a frame of an odd length")
        return np.frombuffer(flat.tobytes(), dtype="u2").byteswap().tobytes()
    return flat.astype(container(image).newbyteorder(byte_order), copy=False).tobytes()


def with_shared_chrominance(pixels: Pixels, *, exactly: bool) -> Pixels:
    """Luminance and chrominance, the latter the same for two pixels of a row: their mean.

    Raises:
        NotAcceptable: a row is odd, or something would be lost where it must come out `exactly`.
    """
    rows, columns, _ = pixels.shape
    if columns % 2:
        raise NotAcceptable("chrominance for two pixels cannot be shared in rows of an odd length")
    pairs = pixels[..., 1:].reshape(rows, columns // 2, 2, 2)
    if (pairs[:, :, 0] == pairs[:, :, 1]).all():
        return pixels
    if exactly:
        raise NotAcceptable("the frame has chrominance for each pixel, its data set says for two")
    shared = pixels.copy()
    mean = (pairs.sum(axis=2, dtype=np.uint32) + 1) // 2
    shared[..., 1:] = np.repeat(mean.astype(pixels.dtype), 2, axis=1)
    return shared


def stored_values(pixels: Pixels, image: ImageDescription) -> Pixels:
    """The samples alone: what lies above High Bit or below the lowest stored bit is taken away.

    PS3.5 8.1.1; older images keep overlays there.
    """
    allocated = 8 * pixels.dtype.itemsize
    above = allocated - 1 - image.high_bit
    if image.bits_allocated == 1 or image.bits_stored == allocated:
        return pixels
    kept: Pixels = (pixels << above) >> (allocated - image.bits_stored)
    return kept


def _shape(flat: Pixels, image: ImageDescription) -> Pixels:
    rows, columns = image.rows, image.columns
    if image.samples_per_pixel == 1:
        return flat.reshape(rows, columns)
    if image.is_subsampled:
        if columns % 2:
            raise NotAcceptable("chrominance for two pixels cannot be shared in rows of an odd length")
        pairs = flat.reshape(rows, columns // 2, 4)
        pixels = np.empty((rows, columns, 3), dtype=flat.dtype)
        pixels[..., 0] = pairs[..., 0:2].reshape(rows, columns)
        pixels[..., 1:3] = np.repeat(pairs[..., 2:4], 2, axis=1)
        return pixels
    if image.planar_configuration == 1:
        return flat.reshape(3, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, 3)
