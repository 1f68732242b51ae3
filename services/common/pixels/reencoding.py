"""Elements from one encoding to another: implicit or explicit VR, little or big endian in, little endian out.

PS3.5 7.1 and annex A.  Sequences come out with undefined lengths, group lengths are left out (both are
allowed everywhere), and values stay what they are but for their byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from services.common.errors import InvalidInstance, NotAcceptable
from services.common.part10 import Header
from services.common.part10.encoding import LONG_VRS, announced_by, tag_name
from services.common.part10.grammar import ELEMENTS, ITEMS, Walk

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

Replacements = Mapping[int, bytes | None]
"""New values of top-level elements by tag, of an even length; None leaves the element out."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (
    struct.pack("<HHI", 0xFFFE, element, length)
    for element, length in ((0xE000, _UNDEFINED), (0xE00D, 0), (0xE0DD, 0))
)
_PIXEL_REPRESENTATION = 0x00280103
_WORD_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("US", "SS", "AT", "OW"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_LONGEST_SHORT = 0xFFFE


def element_header(tag: int, vr: str, length: int, *, explicit: bool) -> bytes:
    """Tag, VR and length of a little-endian element (PS3.5 7.1.2 and 7.1.3)."""
    group, number = tag >> 16, tag & 0xFFFF
    if not explicit:
        return struct.pack("<HHI", group, number, length)
    if vr in LONG_VRS:
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, length)
    return struct.pack("<HH2sH", group, number, vr.encode(), length)


def swapped(value: bytes, word: int) -> bytes:
    """The value with the bytes of each word reversed; what fills no word stays."""
    whole = len(value) - len(value) % word
    return np.frombuffer(value[:whole], dtype=f"u{word}").byteswap().tobytes() + value[whole:]


class Reencoder:
    """Writes the elements that pass by as little endian, explicit or implicit VR.

    `is_signed` is the image's Pixel Representation, by which implicit VR values that may be US or SS are told
    apart; an item with its own goes by that.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        explicit: bool,
        is_signed: bool = False,
        replacements: Replacements | None = None,
    ) -> None:
        self._announced = announced_by(transfer_syntax_uid)
        self._explicit = explicit
        self._replacements = replacements or {}
        self._signed = [is_signed]
        self._little = [self._announced.little]
        self._walk: Walk | None = None
        self._buffer = b""
        self._out = bytearray()

    def feed(self, elements: bytes) -> bytes:
        """Whole top-level elements, re-encoded; what comes later in the data set is fed later.

        Raises:
            InvalidInstance: the bytes are no elements.
            NotAcceptable: a nested image is compressed, which the new encoding cannot hold.
        """
        walk = Walk(self, self._announced)
        if self._walk is not None:
            walk.resume(self._walk)
        self._walk, self._buffer, self._out = walk, elements, bytearray()
        walk.advance(elements, 0, len(elements))
        walk.close_all(len(elements))
        return bytes(self._out)

    def element(self, tag: int, vr: str, start: int, value: int, length: int) -> None:
        """Write one element."""
        if tag & 0xFFFF == 0:
            return
        content = self._buffer[value : value + length]
        if not self._is_little and vr in _WORD_BYTES:
            content = swapped(content, _WORD_BYTES[vr])
        if len(self._signed) == 1 and tag in self._replacements:
            replacement = self._replacements[tag]
            if replacement is None:
                return
            content = replacement
        if tag == _PIXEL_REPRESENTATION and len(content) >= 2:
            self._signed[-1] = content[0] == 1
        if vr == "US or SS":
            vr = "SS" if self._signed[-1] else "US"
        if len(content) > _LONGEST_SHORT and vr not in LONG_VRS:
            vr = "UN"  # PS3.5 6.2.2 note: the way out for a value too long for its VR's length field
        self._out += element_header(tag, vr, len(content), explicit=self._explicit) + content

    def left_out(self, tag: int, vr: str, start: int, value: int, length: int) -> int:
        """Write a long element; the walk must not go beyond the buffer."""
        if value + length > len(self._buffer):
            raise InvalidInstance(f"{tag_name(tag)} ends beyond the data set", tag=tag)
        self.element(tag, vr, start, value, length)
        return value + length

    def opened(self, tag: int, vr: str, start: int, value: int, length: int, kind: int) -> None:
        """Begin a sequence."""
        if kind != ITEMS:
            raise NotAcceptable(f"{tag_name(tag)} inside a sequence is compressed")
        self._out += element_header(tag, "SQ", _UNDEFINED, explicit=self._explicit)

    def opened_item(self, little: bool) -> None:
        """Begin an item."""
        self._out += _ITEM
        self._signed.append(self._signed[-1])
        self._little.append(little)

    def fragment(self, value: int, length: int) -> int:
        """Never comes: `opened` refuses what has fragments."""
        raise NotAcceptable("an image inside a sequence is compressed")

    def closed(self, kind: int, end: int) -> None:
        """End an item or a sequence."""
        if kind == ELEMENTS:
            self._signed.pop()
            self._little.pop()
        self._out += _ITEM_END if kind == ELEMENTS else _SEQUENCE_END

    @property
    def _is_little(self) -> bool:
        return self._little[-1]


def spliced(content: bytes, header: Header, replacements: Replacements) -> bytes:
    """Explicit VR Little Endian elements with some values replaced, all others verbatim.

    `content` begins with the data set's first byte; elements beyond it are not looked at.
    """
    pieces, position = [], 0
    for element in header.elements():
        if element.offset + element.length > len(content):
            break
        if element.tag in replacements and element.items is None:
            size = 12 if element.vr in LONG_VRS else 8
            pieces.append(content[position : element.offset - size])
            replacement = replacements[element.tag]
            if replacement is not None:
                pieces += [
                    element_header(element.tag, element.vr, len(replacement), explicit=True),
                    replacement,
                ]
            position = element.offset + element.length
    return b"".join([*pieces, content[position:]])
