"""The index of a captured header: one walk over its content, every element's place on every level."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10.encoding import PIXEL_DATA, Encoding, dictionary_vr
from services.common.part10.grammar import FRAGMENTS, ITEMS, Walk


@dataclass(slots=True)
class DataSetIndex:
    """Where the elements of a data set or item are, in order, by tag; of equal tags the last counts."""

    nodes: dict[int, Node] = field(default_factory=dict)
    little: bool = True


@dataclass(slots=True)
class Fragments:
    """Offset and length of each fragment of encapsulated Pixel Data, the offset table first."""

    places: list[tuple[int, int]] = field(default_factory=list)


Node = tuple[int, str, int, int, int, int, "list[DataSetIndex] | Fragments | None"]
"""tag, VR, position of the value in the content (-1: left out), length, offset of the value in the data set,
bytes of the element header, what a container holds."""

_Place = tuple[int, str, int, int]


class _Indexer:
    """Notes what the walk tells (grammar.Visitor)."""

    __slots__ = ("_fragments", "_items", "_nodes", "_open", "top", "walk")

    def __init__(self, announced: Encoding) -> None:
        self.walk = Walk(self, announced)
        self.top = DataSetIndex()
        self._nodes = self.top.nodes
        self._items: list[DataSetIndex] = []
        self._fragments = Fragments()
        self._open: list[tuple[dict[int, Node], list[DataSetIndex], _Place]] = []

    def element(self, tag: int, vr: str, start: int, value: int, length: int) -> None:
        """Notes where a kept value is."""
        if vr == "UN":
            vr = _known(tag)
        self._nodes[tag] = (tag, vr, value, length, value + self.walk.delta, value - start, None)

    def left_out(self, tag: int, vr: str, start: int, value: int, length: int) -> int:
        """Notes a value that the content lacks."""
        if vr == "UN":
            vr = _known(tag)
        self._nodes[tag] = (tag, vr, -1, length, value + self.walk.delta, value - start, None)
        self.walk.delta += length
        return value

    def fragment(self, value: int, length: int) -> int:
        """Notes a fragment, whose value the content lacks."""
        self._fragments.places.append((value + self.walk.delta, length))
        self.walk.delta += length
        return value

    def opened(self, tag: int, vr: str, start: int, value: int, length: int, kind: int) -> None:
        """Remembers where a sequence or Pixel Data begins."""
        if kind == ITEMS:
            vr = "SQ"
        elif tag == PIXEL_DATA:
            vr = "OB"  # PS3.5 A.4, whatever an implicit data set's dictionary says
        self._open.append((self._nodes, self._items, (tag, vr, value + self.walk.delta, value - start)))
        self._items = []
        self._fragments = Fragments()

    def opened_item(self, little: bool) -> None:
        """Begins an item."""
        item = DataSetIndex(little=little)
        self._items.append(item)
        self._open.append((self._nodes, self._items, (0, "", 0, 0)))
        self._nodes = item.nodes

    def closed(self, kind: int, end: int) -> None:
        """Notes a sequence or Pixel Data, whose extent is now known; or goes back to what holds an item."""
        held = self._fragments if kind == FRAGMENTS else self._items
        self._nodes, self._items, (tag, vr, offset, head) = self._open.pop()
        if tag:
            length = end + self.walk.delta - offset
            self._nodes[tag] = (tag, vr, -1, length, offset, head, held)


def _known(tag: int) -> str:
    """The dictionary's VR for a value of VR UN; sequences stay UN, for their items are not walked over."""
    vr = dictionary_vr(tag)
    return "UN" if vr == "SQ" else vr


def index_header(captured: CapturedHeader, announced: Encoding) -> tuple[DataSetIndex, Walk]:
    """The index of a captured header, and the walk that stands at its end.

    Raises:
        InvalidInstance: the content is not one that a scanner kept.
    """
    if captured.version != 1:
        raise InvalidInstance(f"no header of version {captured.version} is known")
    indexer = _Indexer(announced)
    content, end = captured.content, len(captured.content)
    position = indexer.walk.advance(content, 0, end)
    if position < end:
        raise InvalidInstance("the captured header ends inside an element", tag=indexer.walk.tag)
    indexer.walk.close_all(end)
    indexer.top.little = indexer.walk.encoding.little
    return indexer.top, indexer.walk
