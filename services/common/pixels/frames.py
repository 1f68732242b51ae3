"""Where each frame of an image lies, uncompressed or in fragments (PS3.5 8 and A.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise

from services.common.errors import NotAcceptable
from services.common.part10 import Header, PixelDataLocation
from services.common.pixels.description import MAX_FRAME_BYTES, ImageDescription, describe
from services.common.pixels.jobs import Frame
from services.common.pixels.messages import Buffer
from services.common.pixels.reading import DataSetReader

PIXEL_DATA = 0x7FE00010
NATIVE = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
)
"""Transfer syntaxes without encapsulation: implicit, explicit, big endian, deflated."""
_END_OF_STREAM = b"\xff\xd9"

Fragments = Sequence[tuple[int, int]]
"""(offset in the data set, length) each."""


class StoredImage:
    """An image in the store whose frames are read one by one.

    Raises:
        NotAcceptable: the data set has no pixels, or they cannot be what it says they are.
    """

    def __init__(self, reader: DataSetReader, header: Header, transfer_syntax_uid: str) -> None:
        location = header.pixel_data()
        if location is None:
            raise NotAcceptable("the instance has no pixels")
        if location.tag != PIXEL_DATA:
            raise NotAcceptable("floating point pixels cannot be decoded")
        if (location.fragments is None) != (transfer_syntax_uid in NATIVE):
            raise NotAcceptable(f"its pixels do not lie as transfer syntax {transfer_syntax_uid} says")
        self.reader = reader
        self.header = header
        self.location: PixelDataLocation = location
        self.transfer_syntax_uid = transfer_syntax_uid
        self.image: ImageDescription = describe(header)
        if location.truncated:
            raise NotAcceptable("the data set ends inside its pixels")
        if self.is_native and location.length < self.image.value_length:
            raise NotAcceptable(
                f"its pixels have {location.length} bytes, {self.image.value_length} are needed"
            )

    @property
    def is_native(self) -> bool:
        """Whether the pixels are uncompressed."""
        return self.location.fragments is None

    @property
    def byte_order(self) -> str:
        """How words of an uncompressed value lie; samples of 8 bits are words where the VR is OW."""
        if self.header.is_little_endian:
            return "<"
        return ">" if self.image.bits_allocated > 8 or self.location.vr == "OW" else "<"

    @property
    def representative_frame(self) -> int:
        """Index of the frame that stands for the whole: the middle one."""
        return self.image.number_of_frames // 2

    def frame(self, index: int) -> Frame:
        """The frame with that index, from 0; its bytes are read from the store as they are used.

        Raises:
            NotAcceptable: there is no such frame, or its fragments cannot be told from others'.
        """
        if not 0 <= index < self.image.number_of_frames:
            raise NotAcceptable(f"the image has {self.image.number_of_frames} frames, not {index + 1}")
        if self.is_native:
            return self._native(index)
        fragments = self._frames[index]
        length = sum(size for _, size in fragments)
        if length > MAX_FRAME_BYTES:
            raise NotAcceptable(f"a compressed frame has {length} bytes")
        return Frame(
            image=self.image,
            length=length,
            content=self._contents(fragments),
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    def _native(self, index: int) -> Frame:
        image = self.image
        first_bit = index * image.frame_bits
        start = first_bit // 8
        end = min((first_bit + image.frame_bits + 7) // 8, self.location.length)
        if image.number_of_frames == 1 and image.bits_allocated == 8:
            # Big-endian words of an odd frame reach into the padding.
            end = min(end + end % 2, self.location.length)
        return Frame(
            image=image,
            length=end - start,
            content=self.reader.pieces(self.location.offset + start, end - start),
            transfer_syntax_uid=None,
            byte_order=self.byte_order,
            first_bit=first_bit % 8,
        )

    def _contents(self, fragments: Fragments) -> Iterator[Buffer]:
        for offset, length in fragments:
            yield from self.reader.pieces(offset, length)

    @cached_property
    def _frames(self) -> Sequence[Fragments]:
        """The fragments of each frame."""
        fragments = self.location.fragments or ()
        table = self._offset_table()
        return group_fragments(fragments, table, self.image.number_of_frames, self.reader.read)

    def _offset_table(self) -> tuple[int, ...]:
        """Where frames begin, counted from the first fragment's item, by either table (PS3.5 A.4)."""
        extended = self.header.element("ExtendedOffsetTable")
        if extended is not None and extended.length:
            return self._integers(extended.offset, extended.length, "Q", 8)
        if self.location.offset_table is not None:
            return self._integers(*self.location.offset_table, "I", 4)
        return ()

    def _integers(self, offset: int, length: int, code: str, size: int) -> tuple[int, ...]:
        count = min(length // size, self.image.number_of_frames)
        content = self.reader.read(offset, count * size)
        return struct.unpack(f"<{len(content) // size}{code}", content[: len(content) // size * size])


def group_fragments(
    fragments: Fragments,
    table: Sequence[int],
    number_of_frames: int,
    read: Callable[[int, int], bytes],
) -> Sequence[Fragments]:
    """Which fragments belong to which frame: by the offset table, by their number, or by the ends of JPEG
    streams.

    A table with an entry for each frame is believed or refused; where its entries are none, each frame may
    still be a fragment.

    Raises:
        NotAcceptable: none of these tells, or the table contradicts the fragments or the frames' order.
    """
    if number_of_frames == 1 and fragments:
        return [fragments]
    if fragments and len(table) == number_of_frames:
        starts = _starts(fragments, table)
        if starts is not None:
            return [
                fragments[start:end] for start, end in zip(starts, [*starts[1:], len(fragments)], strict=True)
            ]
    if len(fragments) == number_of_frames:
        return [[fragment] for fragment in fragments]
    frames: list[list[tuple[int, int]]] = [[]]
    if len(fragments) > number_of_frames:
        for offset, length in fragments:
            frames[-1].append((offset, length))
            if read(offset + max(0, length - 4), min(4, length)).rstrip(b"\0").endswith(_END_OF_STREAM):
                frames.append([])
    frames = [frame for frame in frames if frame]
    if len(frames) != number_of_frames:
        raise NotAcceptable(f"{number_of_frames} frames cannot be found among {len(fragments)} fragments")
    return frames


def _starts(fragments: Fragments, table: Sequence[int]) -> Sequence[int] | None:
    """The index of each frame's first fragment; None where the table fits nothing and nothing needs it.

    Raises:
        NotAcceptable: the table names frames out of their order, or bytes at which no fragment begins.
    """
    index = {offset - fragments[0][0]: at for at, (offset, _) in enumerate(fragments)}
    starts = [index.get(offset, -1) for offset in table]
    if -1 in starts:
        if len(fragments) == len(table):
            return None
        wrong = starts.index(-1)
        raise NotAcceptable(
            f"the offset table lets frame {wrong + 1} begin at byte {table[wrong]}, where no fragment does"
        )
    if starts[0] != 0:
        raise NotAcceptable(f"the offset table lets frame 1 begin at fragment {starts[0] + 1}")
    for number, (start, following) in enumerate(pairwise(starts), start=2):
        if following <= start:
            raise NotAcceptable(f"the offset table lets frame {number} begin before frame {number - 1} ends")
    return starts
