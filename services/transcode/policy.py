"""Which instances get a JPEG 2000 rendition."""

from __future__ import annotations

from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import NATIVE

_LOSSLESS = NATIVE | frozenset(
    (
        "1.2.840.10008.1.2.5",  # RLE Lossless
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless, Non-Hierarchical
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, First-Order Prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    )
)
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
_BITS_ALLOCATED = (8, 16)
_RADIOTHERAPY = "1.2.840.10008.5.1.4.1.1.481."
"""Planning systems measure in these, and many read no compressed form."""
_SHORTEST_SIDE = 32
"""The encoder halves an image five times."""


def refusal(sop_class_uid: str, transfer_syntax_uid: str, image: ImageDescription) -> str:
    """Why the image gets no lossless JPEG 2000 rendition; empty where it gets one.

    A lossy original gains nothing from a lossless copy, and a result that were itself lossy would be a new
    SOP instance (PS3.3 C.7.6.1.1.5), which is not for an archive to make.
    """
    if sop_class_uid.startswith(_RADIOTHERAPY):
        return "radiotherapy objects are not transcoded"
    if transfer_syntax_uid in _JPEG_2000:
        return "it is JPEG 2000 already"
    if transfer_syntax_uid not in _LOSSLESS:
        return f"transfer syntax {transfer_syntax_uid} is lossy or unknown"
    if image.bits_allocated not in _BITS_ALLOCATED:
        return f"samples of {image.bits_allocated} bits do not go well into JPEG 2000"
    if min(image.rows, image.columns) < _SHORTEST_SIDE:
        return f"it has fewer than {_SHORTEST_SIDE} rows or columns"
    return ""
