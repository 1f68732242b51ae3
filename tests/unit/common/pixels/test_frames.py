"""Which fragments make a frame (PS3.5 A.4), and where uncompressed frames lie."""

from __future__ import annotations

import pytest
from pydicom.encaps import encapsulate, encapsulate_extended

from services.common.errors import NotAcceptable
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage, group_fragments
from services.common.pixels.reading import opened
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    EXPLICIT,
    data_set_bytes,
    data_set_of,
    image_data_set,
    store_data_set,
)

_STREAMS = b"aaaa" + b"bb\xff\xd9" + b"cccc" + b"c\xff\xd9\0"
_FRAGMENTS = [(100, 4), (112, 4), (124, 4), (136, 4)]
"""Four fragments, whose contents `_read` finds in `_STREAMS`; two end a JPEG stream, one of them padded."""


def _read(offset: int, length: int) -> bytes:
    start = (offset - 100) // 12 * 4 + (offset - 100) % 12
    return _STREAMS[start : start + length]


@pytest.mark.parametrize(
    ("table", "frames", "expected"),
    [
        ((), 1, [[0, 1, 2, 3]]),
        ((0,), 1, [[0, 1, 2, 3]]),
        ((0, 24), 2, [[0, 1], [2, 3]]),
        ((), 4, [[0], [1], [2], [3]]),
        ((0, 12, 24, 36), 4, [[0], [1], [2], [3]]),
        ((), 2, [[0, 1], [2, 3]]),
        ((0, 7, 9, 11), 4, [[0], [1], [2], [3]]),
    ],
    ids=["one frame", "one entry", "table", "one each", "table, one each", "ends", "bad table, one each"],
)
def test_fragments_are_grouped(table: tuple[int, ...], frames: int, expected: list[list[int]]) -> None:
    found = group_fragments(_FRAGMENTS, table, frames, _read)
    assert [[_FRAGMENTS.index(fragment) for fragment in frame] for frame in found] == expected


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ((0, 7), "lets frame 2 begin at byte 7, where no fragment does"),
        ((24, 0), "lets frame 1 begin at fragment 3"),
        ((0, 0), "lets frame 2 begin before frame 1 ends"),
        ((0, 24, 12), "lets frame 3 begin before frame 2 ends"),
        ((0, 24, 12, 36), "lets frame 3 begin before frame 2 ends"),
    ],
)
def test_an_offset_table_that_contradicts_the_fragments_is_refused(table: tuple[int, ...], says: str) -> None:
    with pytest.raises(NotAcceptable, match=f"^the offset table {says}$"):
        group_fragments(_FRAGMENTS, table, len(table), _read)


@pytest.mark.parametrize(("fragments", "frames"), [(_FRAGMENTS, 3), (_FRAGMENTS, 9), ([], 1), ([], 2)])
def test_fragments_that_tell_nothing_are_refused(fragments: list[tuple[int, int]], frames: int) -> None:
    with pytest.raises(NotAcceptable, match=f"{frames} frames cannot be found"):
        group_fragments(fragments, (), frames, _read)


_IMAGE = ImageDescription(
    rows=2,
    columns=2,
    samples_per_pixel=1,
    bits_allocated=8,
    bits_stored=8,
    high_bit=7,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
    number_of_frames=3,
)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("per_frame", [1, 2])
def test_encapsulated_frames_are_read_whole(extended: bool, per_frame: int) -> None:
    frames = [b"first one.", b"the second", b"third....."]
    data_set = image_data_set(b"", _IMAGE)
    if extended:
        value, offsets, lengths = encapsulate_extended(frames)
        data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
    else:
        value = encapsulate(frames, fragments_per_frame=per_frame)
    data_set.PixelData = value
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    store, syntax = MemoryStore(), "1.2.840.10008.1.2.4.50"
    instance = store_data_set(store, data_set_bytes(data_set, EXPLICIT), syntax)
    with opened(store, data_set_of(instance), syntax) as (reader, header):
        stored = StoredImage(reader, header, syntax)
        for index in (2, 0, 1):
            assert b"".join(stored.frame(index).content) == frames[index]
        with pytest.raises(NotAcceptable, match="has 3 frames, not 4"):
            stored.frame(3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", "have 10 bytes, 12 are needed"), (b"", "have 0 bytes")],
)
def test_too_few_uncompressed_pixels_are_refused(value: bytes, reason: str) -> None:
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(image_data_set(value, _IMAGE), EXPLICIT), EXPLICIT)
    with (
        opened(store, data_set_of(instance), EXPLICIT) as (reader, header),
        pytest.raises(NotAcceptable, match=reason),
    ):
        StoredImage(reader, header, EXPLICIT)
