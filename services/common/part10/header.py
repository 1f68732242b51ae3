"""Random access to a captured header: elements, text, where the Pixel Data lies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from services.common.model import CapturedHeader, Values
from services.common.part10.encoding import PIXEL_TAGS, announced_by, is_deflated, tag_of
from services.common.part10.index import DataSetIndex, Fragments, Node, index_header
from services.common.part10.text import DEFAULT_CHARSET, charset_of, decode

_SPECIFIC_CHARACTER_SET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103
_PIXEL_TAG = b"\xe0\x7f\x10\x00"
_UNDEFINED = 0xFFFFFFFF
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a data set or of a sequence item.

    `value` is None where it was left out of the header.  `offset` is that of the value's first byte in the
    data set, `length` the bytes that it takes, delimiters included.
    """

    tag: int
    vr: str
    value: bytes | None
    offset: int
    length: int
    items: tuple[DataSet, ...] | None = None
    """The items of a sequence; None for every other VR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDataLocation:
    """Where Pixel Data lies: offsets from the data set's first byte, lengths in bytes.

    Of a deflated data set they are those of the inflated bytes.
    """

    tag: int
    vr: str
    start: int
    """First byte of the element itself (its tag)."""
    end: int
    """First byte after the element, its delimiters included."""
    offset: int
    """First byte of the value."""
    length: int
    """Bytes of pixels: of the value, or of all fragments together."""
    offset_table: tuple[int, int] | None = None
    """The basic offset table's (offset, length); None where the Pixel Data is not encapsulated."""
    fragments: tuple[tuple[int, int], ...] | None = None
    """Each fragment's (offset, length); None where the Pixel Data is not encapsulated."""
    truncated: bool = False
    """Whether the data set ends before the value does; not known of a deflated one."""

    @property
    def is_whole(self) -> bool:
        """Whether all that the element announces is there, the delimiter behind fragments included."""
        if self.truncated or self.fragments is None or self.offset_table is None:
            return not self.truncated
        return self.end > sum(self.fragments[-1] if self.fragments else self.offset_table)


class DataSet:
    """The elements of a data set or of a sequence item."""

    __slots__ = ("_charset", "_content", "_index", "_parent")

    def __init__(self, content: bytes, index: DataSetIndex, parent: DataSet | None = None) -> None:
        self._content = content
        self._index = index
        self._parent = parent
        self._charset: str | None = None

    @property
    def is_little_endian(self) -> bool:
        """The byte order of the values."""
        return self._index.little

    @property
    def charset(self) -> str:
        """The codec of the text values (`text.charset_of`): the item's own, else that of what holds it."""
        if self._charset is None:
            node = self._index.nodes.get(_SPECIFIC_CHARACTER_SET)
            if node is not None and node[2] >= 0:
                self._charset = charset_of(self._content[node[2] : node[2] + node[3]])
            else:
                self._charset = self._parent.charset if self._parent else DEFAULT_CHARSET
        return self._charset

    def elements(self) -> Iterator[Element]:
        """Every element, in the data set's order."""
        return map(self._element, self._index.nodes.values())

    def element(self, key: int | str) -> Element | None:
        """The element of that tag (``0xGGGGEEEE``) or keyword."""
        node = self._index.nodes.get(tag_of(key))
        return None if node is None else self._element(node)

    def text(self, key: int | str) -> str | None:
        """The value of that tag or keyword as Unicode, several joined by a backslash, without padding.

        ``""`` where the element is empty; None where it is absent, left out, a sequence, or has no text VR.
        """
        node = self._index.nodes.get(tag_of(key))
        if node is None:
            return None
        _, vr, position, length, _, _, children = node
        if children is not None or (position < 0 and length):
            return None
        raw = self._content[position : position + length] if length else b""
        return decode(self._vr(vr), raw, self.charset, little=self._index.little)

    def _element(self, node: Node) -> Element:
        tag, vr, position, length, offset, _, children = node
        value, items = None, None
        if isinstance(children, list):
            items = tuple(DataSet(self._content, child, self) for child in children)
        elif position >= 0 or not length:
            value = self._content[position : position + length] if length else b""
        return Element(tag=tag, vr=self._vr(vr), value=value, offset=offset, length=length, items=items)

    def _vr(self, vr: str) -> str:
        """The VR, where the dictionary leaves it to Pixel Representation (PS3.3 C.7.6.3)."""
        if vr != "US or SS":
            return vr
        data_set: DataSet | None = self
        while data_set is not None:
            if data_set._index.nodes.get(_PIXEL_REPRESENTATION):
                return "SS" if data_set.text(_PIXEL_REPRESENTATION) == "1" else "US"
            data_set = data_set._parent
        return "US"


class Header(DataSet):
    """Random access to a captured header, walked over once."""

    __slots__ = ("_covers", "_is_deflated")

    def __init__(self, captured: CapturedHeader, transfer_syntax_uid: str) -> None:
        """Index `captured`.

        Raises:
            InvalidInstance: the content is none that `HeaderScanner` gave.
        """
        index, _ = index_header(captured, announced_by(transfer_syntax_uid))
        super().__init__(captured.content, index)
        self._covers = captured.covers
        self._is_deflated = is_deflated(transfer_syntax_uid)

    def is_complete_for(self, total: int) -> bool:
        """Whether the header stands for the whole of a data set of `total` bytes, as it is stored."""
        return self._covers >= total

    def find(self, path: str) -> Element | None:
        """The element at a path of tags and item numbers, such as ``54000100/0/54001010``."""
        data_set: DataSet = self
        *way, last = path.split("/")
        try:
            for tag, number in zip(way[::2], way[1::2], strict=True):
                element = data_set.element(int(tag, 16))
                if element is None or element.items is None:
                    return None
                data_set = element.items[int(number)]
            return data_set.element(int(last, 16))
        except (ValueError, IndexError):
            return None

    def pixel_data(self) -> PixelDataLocation | None:
        """Where the pixels lie, if there are any: (7FE0,0010), (7FE0,0008) or (7FE0,0009)."""
        for pixel_tag in PIXEL_TAGS:
            node = self._index.nodes.get(pixel_tag)
            if node is not None:
                return self._location(node)
        return None

    def _location(self, node: Node) -> PixelDataLocation:
        tag, vr, _, length, offset, head, children = node
        places: Sequence[tuple[int, int]] | None = None
        if isinstance(children, Fragments):
            places = children.places
        reached = max((at + size for at, size in places), default=offset) if places else offset + length
        return PixelDataLocation(
            tag=tag,
            vr=vr,
            start=offset - head,
            end=offset + length,
            offset=offset,
            length=length if places is None else sum(size for _, size in places[1:]),
            offset_table=None if places is None else (places[0] if places else (offset, 0)),
            fragments=None if places is None else tuple(places[1:]),
            truncated=reached > self._covers and not self._is_deflated,
        )


def values(header: DataSet, keywords: Collection[str]) -> Values:
    """The texts of those keywords that have one; empty values are absent.

    Raises:
        KeyError: PS3.6 knows no such keyword.
    """
    found = ((keyword, header.text(keyword)) for keyword in keywords)
    return {keyword: text for keyword, text in found if text}
