"""Encapsulated Pixel Data (PS3.5 A.4): one fragment per frame, and a table of where each begins."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import IO

from services.common.pixels.frames import PIXEL_DATA
from services.common.pixels.messages import Buffer
from services.common.pixels.reencoding import element_header

_UNDEFINED = 0xFFFFFFFF
_ITEM_HEADER_LENGTH = 8
_LARGEST_BASIC_OFFSET = 0xFFFFFFFF
_EXTENDED_OFFSET_TABLE, _EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00001, 0x7FE00002
_SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_PIECE = 256 * 1024


def item_header(length: int) -> bytes:
    """The header of an item or fragment."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, length)


def encapsulated_length(lengths: Sequence[int]) -> int:
    """The bytes that `encapsulated` gives for streams of these lengths."""
    return len(_tables(lengths)) + sum(map(_padded, lengths)) + 8 * len(lengths) + len(_SEQUENCE_END)


def encapsulated(streams: IO[bytes], lengths: Sequence[int]) -> Iterator[Buffer]:
    """The Pixel Data element for code streams that follow one another in `streams`.

    The basic offset table is filled; where an offset does not fit it, the extended one (PS3.3 C.7.6.3) is.
    """
    yield _tables(lengths)
    for length in lengths:
        yield item_header(_padded(length))
        left = length
        while left:
            piece = streams.read(min(left, _PIECE))
            left -= len(piece)
            yield piece
        yield bytes(_padded(length) - length)
    yield _SEQUENCE_END


def _tables(lengths: Sequence[int]) -> bytes:
    """Everything before the first fragment."""
    sizes = [_ITEM_HEADER_LENGTH + _padded(length) for length in lengths]
    offsets = list(accumulate(sizes, initial=0))[:-1]
    pixel_data = element_header(PIXEL_DATA, "OB", _UNDEFINED, explicit=True)
    if offsets[-1] <= _LARGEST_BASIC_OFFSET:
        return pixel_data + item_header(4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets)
    extended = [
        element_header(tag, "OV", 8 * len(values), explicit=True) + struct.pack(f"<{len(values)}Q", *values)
        for tag, values in ((_EXTENDED_OFFSET_TABLE, offsets), (_EXTENDED_OFFSET_TABLE_LENGTHS, lengths))
    ]
    return b"".join(extended) + pixel_data + item_header(0)


def _padded(length: int) -> int:
    return length + length % 2
