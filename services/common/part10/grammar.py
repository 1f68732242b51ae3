"""The walk over a data set's bytes: one grammar for captured headers and for passing streams.

Iterative, linear in the bytes, nothing is allocated by a claimed length.  PS3.5 7.1 to 7.5, A.1 to A.4.

Where real files depart from PS3.5 the walk goes on:

* a delimiter that is missing or too much is supplied or passed over;
* explicit data announced as implicit, the reverse, the other byte order, and items in another encoding
  than the sequence around them are taken as their first element shows (`encoding.settle`);
* elements of group 0002 at the start are explicit little endian, whatever follows;
* a VR nobody knows is UN;
* zeros where a top-level element should begin end the data set.
"""

from __future__ import annotations

from typing import Protocol

from services.common.errors import InvalidInstance
from services.common.part10.encoding import (
    FORMS,
    FRAGMENT_VRS,
    IMPLICIT,
    ITEM,
    ITEM_END,
    PIXEL_TAGS,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    dictionary_vr,
    form_of,
    settle,
    tag_name,
)

LONGEST_KEPT = 1024
"""Longer values are left out of a header, bytes."""

DEEPEST = 128
"""Sequences within sequences beyond this are refused."""

ELEMENTS, ITEMS, FRAGMENTS = range(3)
"""What is held: by a data set or item elements, by a sequence items, by encapsulated Pixel Data fragments."""

NEVER = 1 << 63
"""A position or offset beyond every other."""

SMALLEST_HEADER = 8
"""Bytes that every element and item begins with, at least."""
_ZEROS = bytes(SMALLEST_HEADER)


class Visitor(Protocol):
    """Who follows the walk.  Positions are in the buffer walked over, offsets in the data set."""

    def element(self, tag: int, vr: str, start: int, value: int, length: int) -> None:
        """An element whose value is in the buffer from position `value`."""

    def left_out(self, tag: int, vr: str, start: int, value: int, length: int) -> int:
        """An element whose value a header does not hold; gives the position after it, even beyond the end."""

    def opened(self, tag: int, vr: str, start: int, value: int, length: int, kind: int) -> None:
        """A sequence or encapsulated Pixel Data begins; `length` may be `UNDEFINED`."""

    def opened_item(self, little: bool) -> None:
        """An item of a sequence begins; `little` is the byte order of its values."""

    def fragment(self, value: int, length: int) -> int:
        """A fragment (the first is the offset table); gives the position after its value."""

    def closed(self, kind: int, end: int) -> None:
        """The innermost open sequence (`ITEMS`), item (`ELEMENTS`) or Pixel Data ends before `end`."""


class Walk:
    """A place in a data set, from which it goes on as bytes become known.

    `delta` is what to add to a buffer position to get the offset in the data set; a visitor whose buffer
    lacks the values left out adds them to it.  A visitor may set `over` where it wants no more, and `full_at`
    to the position at which it wants to be asked: `advance` then comes back after the step that reaches it.
    With `heeded` tags it is told of no other short element, which halves what a header costs.
    """

    __slots__ = (
        "_announced",
        "_frames",
        "_fresh",
        "_kind",
        "_limit",
        "_starved",
        "_undefined",
        "_visitor",
        "delta",
        "depth",
        "encoding",
        "end",
        "end_before",
        "full_at",
        "heeded",
        "is_unended",
        "over",
        "pixels_reached",
        "tag",
    )

    def __init__(self, visitor: Visitor, announced: Encoding) -> None:
        self._visitor = visitor
        self._announced = announced
        self._fresh = True  # no element yet that shows the encoding of this data set or item
        self._kind = ELEMENTS
        self._limit = NEVER  # offset at which this container ends, were it not ended before
        self._undefined = True  # whether a delimiter ends it
        self._frames: list[tuple[int, int, bool, Encoding, Encoding, int]] = []
        self._starved = False
        self.delta = 0
        self.depth = 0
        """How many containers are open: sequences, items and encapsulated Pixel Data."""
        self.encoding = announced
        self.end = -1
        """Where the element of the data set itself ends that was passed last; -1 where `advance` has passed
        none."""
        self.end_before = -1
        """The same of the one before."""
        self.full_at = NEVER
        self.heeded: frozenset[int] | None = None
        self.is_unended = False
        """Whether Pixel Data of the data set itself was in fragments and something else followed them than
        the delimiter."""
        self.over = False
        self.pixels_reached = False
        """Whether Pixel Data of the data set itself (not of an icon) was begun."""
        self.tag = 0
        """The element that was begun last, on whatever level."""

    @property
    def top_tag(self) -> int:
        """The top-level element that this place is in, or that ended here."""
        return self._frames[0][5] if self._frames else self.tag

    @property
    def is_promised_more(self) -> bool:
        """Whether an open container has a length that is not used up."""
        return self._limit < NEVER

    def resume(self, other: Walk) -> None:
        """Take on the encoding that `other`, which has walked over what lies before, has found."""
        self._announced, self._fresh, self.encoding = other._announced, other._fresh, other.encoding
        self.pixels_reached = other.pixels_reached

    def advance(self, buffer: bytes, position: int, end: int) -> int:
        """Go on from `position` as far as the bytes before `end` allow.

        Gives the first position not passed; beyond `end` where a value left out reaches beyond it.

        Raises:
            InvalidInstance: the bytes cannot be a data set; its `tag` is the element where that showed.
        """
        self._starved = False
        self.end_before = self.end = -1
        while not self._starved and not self.over and position < self.full_at:
            while position + self.delta >= self._limit:
                self._close(position)
            step = self._elements if self._kind == ELEMENTS else self._items
            position = step(buffer, position, end)
        return position

    def close_all(self, position: int) -> None:
        """End what is open: the data set ends here, its delimiters forgotten."""
        while self._frames:
            self._close(position)

    def _elements(self, buffer: bytes, position: int, end: int) -> int:
        """Pass elements until a container begins or ends, or the bytes run out."""
        if self._fresh and end - position >= SMALLEST_HEADER:
            self._settle(buffer[position : position + SMALLEST_HEADER])
        encoding, element, heeded = self.encoding, self._visitor.element, self.heeded
        explicit, unpack, long_length = encoding.explicit, encoding.header, encoding.long_length
        bound = self._limit - self.delta
        until = min(bound, self.full_at)
        last_header = end - SMALLEST_HEADER
        fresh = self._fresh
        before, last, passed = self.end_before, self.end, self.tag
        while position < until:
            if position > last_header:
                self._starved = True
                break
            size = SMALLEST_HEADER
            if explicit:
                group, number, code, length = unpack(buffer, position)
                tag = group << 16 | number
                form = FORMS.get(code) or self._unknown_form(group, code)
                if form is None:
                    self._stand(before, last, passed)
                    return self._delimiter(tag, buffer, position)
                vr, size = form
                if size > SMALLEST_HEADER:
                    if end - position < size:
                        self._starved = True
                        break
                    (length,) = long_length(buffer, position + SMALLEST_HEADER)
            else:
                group, number, length = unpack(buffer, position)
                tag = group << 16 | number
                if group == 0xFFFE or not tag:
                    self._stand(before, last, passed)
                    return self._delimiter(tag, buffer, position)
                vr = dictionary_vr(tag)
            value = position + size
            after = value + length
            if vr == "SQ" or length == UNDEFINED:
                self._stand(before, last, passed)
                self._open(tag, vr, position, value, length)
                return value
            if after > bound:
                self._stand(before, last, passed)
                raise InvalidInstance(f"{tag_name(tag)} reaches beyond the item that holds it", tag=tag)
            if length > LONGEST_KEPT or (group == 0x7FE0 and tag in PIXEL_TAGS):
                self._stand(before, last, tag)
                if tag in PIXEL_TAGS and not self.depth:
                    self.pixels_reached = True
                position = self._visitor.left_out(tag, vr, position, value, length)
                before, last, passed = last, position, tag
                bound = self._limit - self.delta
                until = min(bound, self.full_at)
                if self.over:
                    break
            elif after > end:
                self._starved = True
                break
            else:
                before, last, passed = last, after, tag
                if heeded is None or tag in heeded:
                    self.tag = tag
                    element(tag, vr, position, value, length)
                    if self.over:
                        position = after
                        break
                position = after
            if fresh:
                break
        self._stand(before, last, passed)
        return position

    def _stand(self, before: int, last: int, tag: int) -> None:
        """Note where the walk stands: behind the element `tag`."""
        self.tag = tag
        if not self.depth:
            self.end_before, self.end = before, last

    def _items(self, buffer: bytes, position: int, end: int) -> int:
        """Pass one item header of a sequence, one fragment, or the delimiter that ends them."""
        if end - position < SMALLEST_HEADER:
            self._starved = True
            return position
        group, number, length = self.encoding.item(buffer, position)
        tag = group << 16 | number
        value = position + SMALLEST_HEADER
        if tag == SEQUENCE_END and self._undefined:
            self._close(value)
            return value
        if tag in (SEQUENCE_END, ITEM_END):
            return value
        if tag != ITEM:
            if not self._undefined:
                raise InvalidInstance(f"{tag_name(self.tag)} holds something that is no item", tag=self.tag)
            self.is_unended |= self._kind == FRAGMENTS and self.depth == 1
            self._close(position)
            return position
        if length != UNDEFINED and value + length + self.delta > self._limit:
            raise InvalidInstance(f"an item reaches beyond its sequence {tag_name(self.tag)}", tag=self.tag)
        if self._kind == FRAGMENTS:
            if length == UNDEFINED:
                raise InvalidInstance(f"a fragment of {tag_name(self.tag)} has no length", tag=self.tag)
            return self._visitor.fragment(value, length)
        self._push(ELEMENTS, self._announced, value, length)
        self._visitor.opened_item(self._announced.little)
        return value

    def _settle(self, head: bytes) -> None:
        """Take the encoding that the first element of a data set or item shows."""
        self.encoding = settle(head, self._announced, outermost=not self.depth)
        group, _, _ = self.encoding.item(head)
        self._fresh = group == 0x0002 and not self.depth

    def _unknown_form(self, group: int, code: bytes) -> tuple[str, int] | None:
        return None if group == 0xFFFE else form_of(code)

    def _open(self, tag: int, vr: str, start: int, value: int, length: int) -> None:
        """Enter a sequence, or Pixel Data in fragments."""
        if length != UNDEFINED and value + length + self.delta > self._limit:
            raise InvalidInstance(f"{tag_name(tag)} reaches beyond the item that holds it", tag=tag)
        if self.depth >= 2 * DEEPEST:
            raise InvalidInstance(f"sequences are nested more than {DEEPEST} deep", tag=tag)
        kind = ITEMS
        if length == UNDEFINED and (tag in PIXEL_TAGS or vr in FRAGMENT_VRS):
            kind = FRAGMENTS
        elif vr not in ("SQ", "UN") and self.encoding.explicit:
            raise InvalidInstance(f"{tag_name(tag)} of VR {vr} has no length", tag=tag)
        self.tag = tag
        if tag in PIXEL_TAGS and not self.depth:
            self.pixels_reached = True
        self._visitor.opened(tag, vr, start, value, length, kind)
        # PS3.5 6.2.2: what a value of VR UN and undefined length holds is in implicit VR little endian.
        self._push(kind, IMPLICIT if vr == "UN" else self.encoding, value, length)

    def _push(self, kind: int, announced: Encoding, value: int, length: int) -> None:
        self._frames.append(
            (self._kind, self._limit, self._undefined, self._announced, self.encoding, self.tag)
        )
        self.depth += 1
        self._kind = kind
        self._undefined = length == UNDEFINED
        if not self._undefined:
            self._limit = value + length + self.delta
        self._announced = self.encoding = announced
        self._fresh = kind == ELEMENTS

    def _close(self, position: int) -> None:
        """Leave the innermost container."""
        kind = self._kind
        self.depth -= 1
        self._kind, self._limit, self._undefined, self._announced, self.encoding, self.tag = (
            self._frames.pop()
        )
        self._fresh = False
        self._visitor.closed(kind, position)

    def _delimiter(self, tag: int, buffer: bytes, position: int) -> int:
        """Pass what stands between elements and is none, as far as it can be understood."""
        after = position + SMALLEST_HEADER
        in_item = self.depth > 0
        if tag == ITEM_END:
            if in_item and self._undefined:
                self._close(after)
            return after
        if tag == SEQUENCE_END:
            if in_item and self._undefined and self._frames[-1][2]:
                self._close(position)
                self._close(after)
            return after
        if tag == ITEM and in_item and self._undefined:
            self._close(position)
            return position
        if not in_item and buffer[position:after] == _ZEROS:
            self.over = True
            return position
        raise InvalidInstance(f"{tag_name(tag)} at byte {position + self.delta} is no element", tag=tag)
