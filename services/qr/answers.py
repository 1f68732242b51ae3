"""The identifier of a C-FIND response: a match as bytes in the transfer syntax of the context."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from services.common.model import Level
from services.common.part10 import DataSet, Element, Header, encode_elements
from services.common.query import Match
from services.qr.charsets import UTF8, CharacterSet, Unsayable
from services.qr.identifiers import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET, Question

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056

_TEXT_VRS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_UNIT = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
_UNIT |= dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8)
"""Bytes of one value of the VRs that byte order concerns (PS3.5 7.3)."""

_ITEM = 0xFFFEE000

Entry = tuple[int, str, bytes]


class AnswerEncoder:
    """Encodes the answers to one question.

    A key that has a column is always returned, empty where nothing is known; any other is returned where
    the instance has it.  Text is in the character set of the question, or in UTF-8 where that cannot say
    all of it, which the answer then states.
    """

    def __init__(self, question: Question, transfer_syntax_uid: str, retrieve_aet: str) -> None:
        """Answers come in `transfer_syntax_uid` and name `retrieve_aet` as where to retrieve from."""
        self._question = question
        self._explicit = transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN
        self._little = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
        self._asked = CharacterSet(question.specific_character_set)
        self._constant: list[Entry] = [
            (QUERY_RETRIEVE_LEVEL, "CS", Level(question.query.level).name.encode("ascii")),
            (RETRIEVE_AE_TITLE, "AE", retrieve_aet.encode("ascii", "replace")),
            (INSTANCE_AVAILABILITY, "CS", b"ONLINE"),
        ]

    def encode(self, match: Match) -> bytes:
        """The identifier that gives `match`."""
        try:
            return self._encoded(match, self._asked)
        except Unsayable:
            return self._encoded(match, CharacterSet(UTF8))

    def _encoded(self, match: Match, charset: CharacterSet) -> bytes:
        entries = [*self._constant, *self._from_columns(match, charset)]
        if match.header is not None:
            header = Header(match.header, match.transfer_syntax_uid)
            entries += self._from_header(header, charset)
        if charset.name:
            entries.append((SPECIFIC_CHARACTER_SET, "CS", charset.name.encode("ascii")))
        return self._joined(entries)

    def _joined(self, entries: list[Entry]) -> bytes:
        entries.sort(key=lambda entry: entry[0])
        return encode_elements(entries, explicit=self._explicit, little=self._little)

    def _from_columns(self, match: Match, charset: CharacterSet) -> Iterator[Entry]:
        for attribute in self._question.columns:
            text = match.values.get(attribute.keyword, "")
            yield attribute.tag, attribute.vr, self._value(attribute.vr, text, charset)

    def _value(self, vr: str, text: str, charset: CharacterSet) -> bytes:
        if vr != "US":
            return charset.encode(text)
        numbers = [int(part) for part in text.split("\\") if part.isdecimal()]
        return b"".join(pack("<H" if self._little else ">H", n) for n in numbers if n <= 0xFFFF)

    def _from_header(self, header: Header, charset: CharacterSet) -> Iterator[Entry]:
        blocks: set[int] = set()
        for tag in self._question.others:
            block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
            creator = self._question.private_creators.get(block) if tag >> 16 & 1 else None
            element = header.element(tag) if creator is None else _private(header, tag, creator)
            entry = None if element is None else self._entry(header, element, charset)
            if entry is None:
                continue
            yield tag, entry[1], entry[2]
            if creator is not None and block not in blocks:
                blocks.add(block)
                yield block, "LO", charset.encode(creator)

    def _entry(self, data_set: DataSet, element: Element, charset: CharacterSet) -> Entry | None:
        """The element as it is to be sent; None where its value was left out of the header."""
        if element.items is not None:
            return element.tag, "SQ", b"".join(self._item(item, charset) for item in element.items)
        if element.value is None:
            return None
        if element.vr in _TEXT_VRS and (text := data_set.text(element.tag)) is not None:
            return element.tag, element.vr, charset.encode(text)
        if data_set.is_little_endian == self._little:
            return element.tag, element.vr, element.value
        return element.tag, element.vr, _swap(element.value, _UNIT.get(element.vr, 1))

    def _item(self, item: DataSet, charset: CharacterSet) -> bytes:
        """An item with its length; its text is in the answer's character set, so its own is not said."""
        entries = [
            entry
            for element in item.elements()
            if element.tag != SPECIFIC_CHARACTER_SET
            and (entry := self._entry(item, element, charset)) is not None
        ]
        body = self._joined(entries)
        return pack(f"{'<' if self._little else '>'}HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(body)) + body


def _private(header: Header, tag: int, creator: str) -> Element | None:
    """The element of a private block, wherever in its group the instance has put that block."""
    for block in range(0x10, 0x100):
        if header.text(tag & 0xFFFF0000 | block) == creator:
            return header.element(tag & 0xFFFF00FF | block << 8)
    return None


def _swap(value: bytes, unit: int) -> bytes:
    """The same values in the other byte order."""
    if unit == 1 or len(value) % unit:
        return value
    swapped = bytearray(len(value))
    for place in range(unit):
        swapped[place::unit] = value[unit - 1 - place :: unit]
    return bytes(swapped)
