"""Colour pixels to 8-bit RGB: palettes and luminance-chrominance spaces (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from services.common.errors import NotAcceptable
from services.common.pixels import tables
from services.common.pixels.description import ImageDescription
from services.common.pixels.layout import Pixels, stored_values

_FULL = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], dtype=np.float32)
_PARTIAL = np.array(
    [[1.1644, 0.0, 1.596], [1.1644, -0.3917, -0.813], [1.1644, 2.0173, 0.0]], dtype=np.float32
)
_OFFSETS = {"YBR_FULL": (0.0, 128.0, 128.0), "YBR_PARTIAL": (16.0, 128.0, 128.0)}
_COLOURS = ("Red", "Green", "Blue")
_LARGEST_BYTE = 0xFF
_SIGN = 0x8000
_STRIPE = 256
"""Rows that are converted at once, so that the floating point copy of a large frame stays small."""


def to_rgb(pixels: Pixels, image: ImageDescription, photometric_interpretation: str) -> Pixels:
    """8-bit RGB of a frame whose three samples mean `photometric_interpretation`.

    Raises:
        NotAcceptable: it is no colour space that is known.
    """
    space = photometric_interpretation.removesuffix("_422").removesuffix("_420")
    if space in ("YBR_RCT", "YBR_ICT"):
        # Uncompressed or not, these name a transform inside a code stream, and decoders undo it.
        space = "RGB"
    samples = stored_values(pixels, image)
    if image.bits_stored > 8:
        samples = samples >> (image.bits_stored - 8)
    samples = samples.astype(np.uint8)
    if space == "RGB":
        return samples
    if space not in _OFFSETS:
        raise NotAcceptable(f"photometric interpretation {space[:16]!r} cannot be shown")
    matrix = _FULL if space == "YBR_FULL" else _PARTIAL
    rgb = np.empty_like(samples)
    for row in range(0, image.rows, _STRIPE):
        stripe = samples[row : row + _STRIPE].astype(np.float32) - np.array(_OFFSETS[space], dtype=np.float32)
        rgb[row : row + _STRIPE] = np.clip(np.rint(stripe @ matrix.T), 0, 255)
    return rgb


def from_palette(pixels: Pixels, image: ImageDescription, data_set: Dataset) -> Pixels:
    """8-bit RGB of a PALETTE COLOR frame (PS3.3 C.7.6.3.1.5 and C.7.9, segmented tables included).

    Raises:
        NotAcceptable: the tables are missing or broken.
    """
    try:
        count, first, bits = (int(n) for n in data_set["RedPaletteColorLookupTableDescriptor"].value)
        count = count or tables.MAX_ENTRIES
        table = np.stack([_table(data_set, colour, count, bits) for colour in _COLOURS], axis=1)
    except (KeyError, ValueError, TypeError) as exc:
        raise NotAcceptable("its palette is missing or broken") from exc
    if not len(table):
        raise NotAcceptable("its palette is empty")
    # Tables declared with 16 bits are sometimes filled with 8-bit values, and the other way round.
    table = (table >> 8 if table.max() > _LARGEST_BYTE else table).astype(np.uint8)
    if image.is_signed and first >= _SIGN:
        first -= 2 * _SIGN
    wide = np.int32 if image.bits_stored <= 16 else np.int64
    index = stored_values(pixels, image).astype(wide) - first
    # Values beyond the table take its ends.
    return np.asarray(table[np.clip(index, 0, len(table) - 1)])


def _table(data_set: Dataset, colour: str, count: int, bits: int) -> Pixels:
    plain = f"{colour}PaletteColorLookupTableData"
    if plain in data_set:
        return tables.entries(data_set, plain, count)
    return tables.expanded(data_set, f"Segmented{plain}", count, bits)
