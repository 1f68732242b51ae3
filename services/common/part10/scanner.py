"""The header scanner: keeps the header of a data set as its bytes pass.

A header of version 1 is stored for good, under these rules:

* It is the data set's own bytes in its own transfer syntax, from the first byte on, of which are left out
  the values of more than 1024 bytes, the value of Pixel Data (7FE0,0010), (7FE0,0008) or (7FE0,0009) on any
  level and of any length, and the value of every fragment of encapsulated Pixel Data, the offset table
  included.  The element and item headers stay, lengths and all, so that every offset into the data set
  comes back by adding them up.
* Sequences are gone into: VR SQ, and undefined length where it is not Pixel Data.  Values are never changed.
* It ends at the end of a top-level element: the data set's last, or the last with which the header holds at
  most 64 KiB.  `covers` is how many bytes of the data set it stands for.
* Of a deflated data set it holds the inflated bytes.  `covers` is the length of the deflated data set where
  the header is whole, and 0 where the capture stopped: it can only be completed from the start.

What is refused with `InvalidInstance` and what is not:

* A data set that ends inside an element before Pixel Data is refused.
* A scanner that is to judge the `whole` data set also refuses one that ends inside Pixel Data or inside an
  element behind it, encapsulated Pixel Data and sequences that end without their delimiter, and a deflated
  stream without its end.  Any other takes what there is, and `Header.pixel_data` says `truncated`: what was
  stored stays readable.
* What follows Pixel Data and is no element (padding, garbage) stays in the data set and out of the header,
  which covers it.  So do zeros after any top-level element.
* Otherwise only what is scanned is judged: that a data set ends early behind the captured part is found by
  `complete`.
* The departures that `grammar` lists are read through.  Nesting beyond 128 sequences is refused, and so is
  whatever else cannot be walked over before Pixel Data.
"""

from __future__ import annotations

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10.deflate import Inflater
from services.common.part10.encoding import PIXEL_DATA, PIXEL_TAGS, announced_by, is_deflated
from services.common.part10.ending import (
    begun_tag,
    belongs_behind_pixels,
    cut_container,
    cut_element,
    cut_value,
)
from services.common.part10.grammar import NEVER, SMALLEST_HEADER, Walk
from services.common.part10.header import Header
from services.common.part10.index import index_header
from services.common.part10.text import DEFAULT_CHARSET, decode

Buffer = bytes | bytearray | memoryview

CAPTURE_LIMIT = 64 * 1024
"""Bytes of header that travel with an event, at most."""
VERSION = 1

_PIECE = 64 * 1024
_UIDS = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E))
_LAST_UID = max(_UIDS)


class HeaderScanner:
    """Keeps the header of one data set, fed in pieces cut anywhere.

    Once the header is as long as it may be, only the UIDs that place the instance are still looked for, and
    after them a byte costs nothing; unless the `whole` data set is to be judged.
    """

    def __init__(self, transfer_syntax_uid: str, *, limit: int = CAPTURE_LIMIT, whole: bool = False) -> None:
        self._transfer_syntax_uid = transfer_syntax_uid
        self._inflater = Inflater() if is_deflated(transfer_syntax_uid) else None
        self._walk = Walk(self, announced_by(transfer_syntax_uid))
        self._walk.heeded = _UIDS
        self._limit = limit
        self._is_capturing = True
        self._judges_whole = whole
        self._fed = 0
        self._base = 0  # offset in the data set of the first pending byte
        self._pending = b""  # the beginning of an element whose end is not here yet
        self._skip = 0  # bytes of a value left out that are still to come
        self._left_out = 0  # bytes of the value left out last
        self._buffer = b""
        self._run = 0  # where in the buffer begins what is not in the content yet
        self._content = bytearray()
        self._mark = 0  # length of the content, and of what it covers, at the end of a top-level element
        self._mark_offset = 0
        self._mark_before = 0  # the mark of the top-level element before that one
        self._uids: dict[int, bytes] = {}
        self._captured: CapturedHeader | None = None
        self._header: Header | None = None

    def feed(self, data: Buffer) -> None:
        """Take the next bytes, which may be reused as soon as this returns.

        Raises:
            InvalidInstance: they cannot belong to a data set; nothing may be fed after that.
        """
        view = memoryview(data).cast("B")
        self._fed += len(view)
        if self._walk.over:
            return
        if self._inflater is None:
            self._take(view)
            return
        for piece in self._inflater.feed(view):
            self._take(memoryview(piece))
            if self._walk.over:
                break

    def finish(self) -> CapturedHeader:
        """The header, after the last byte was fed.

        Raises:
            InvalidInstance: the data set ends inside an element; `tag` names it.
        """
        if not self._walk.over and not self._skip:
            self._pass(self._pending)
        if not self._walk.over:
            self._end()
        if self._judges_whole and self._walk.is_unended:
            raise cut_container(PIXEL_DATA, inside=False)
        covers = self._fed
        if not self._is_capturing:
            covers = self._mark_offset if self._inflater is None else 0
        content = bytes(self._content[: self._mark])
        self._captured = CapturedHeader(version=VERSION, content=content, covers=covers)
        return self._captured

    def text(self, tag: int) -> str | None:
        """The text of a top-level element, None where it is absent or has no text.

        The UIDs that place the instance, (0008,0016), (0008,0018), (0020,000D) and (0020,000E), are known as
        soon as they were fed, also where they lie beyond the captured part; everything else after `finish`.
        """
        if tag in _UIDS:
            uid = self._uids.get(tag)
            return None if uid is None else decode("UI", uid, DEFAULT_CHARSET, little=True)
        if self._header is None and self._captured is not None:
            self._header = Header(self._captured, self._transfer_syntax_uid)
        return None if self._header is None else self._header.text(tag)

    def resume(self, captured: CapturedHeader) -> None:
        """Go on where the capture of `captured` stopped, rather than at byte 0 of the data set."""
        _, walk = index_header(captured, announced_by(self._transfer_syntax_uid))
        self._walk.resume(walk)
        self._content += captured.content
        self._fed = self._base = self._mark_offset = captured.covers
        self._mark = len(captured.content)

    def jump(self, furthest: int) -> int | None:
        """Pass over what is left out next without being fed it, up to the offset `furthest`.

        Gives the offset to feed from, None where nothing more is wanted.  A deflated data set is fed whole.
        """
        if self._walk.over:
            return None
        if self._inflater is not None:
            return self._fed
        step = min(self._skip, furthest - self._fed)
        self._skip -= step
        self._base += step
        self._fed += step
        return self._fed

    def _take(self, view: memoryview) -> None:
        """Walk over bytes in pieces, passing over those that are left out without a copy."""
        position = 0
        while position < len(view) and not self._walk.over:
            if self._skip:
                step = min(self._skip, len(view) - position)
                self._skip -= step
                self._base += step
            else:
                step = min(_PIECE, len(view) - position)
                self._pass(self._pending + view[position : position + step])
            position += step

    def _pass(self, buffer: bytes) -> None:
        """Walk over what is pending and what came, and keep what belongs to the header."""
        walk = self._walk
        self._buffer, self._run, walk.delta = buffer, 0, self._base
        self._set_full()
        try:
            position = self._advance(0)
            if position >= walk.full_at:
                self._stop_capture(walk.top_tag)
                position = self._advance(position)
        except InvalidInstance:
            if not walk.pixels_reached or (self._judges_whole and walk.depth and self._is_element()):
                raise
            if not walk.depth:
                self._note_ends(walk.end_before, walk.end)
            walk.over = True
            self._keep_to_mark()
            return
        used = min(position, len(buffer))
        if self._is_capturing:
            self._content += buffer[self._run : used]
        self._buffer, self._run = b"", 0
        self._pending, self._skip = buffer[used:], position - used
        self._base = walk.delta = self._base + used

    def _advance(self, position: int) -> int:
        walk = self._walk
        position = walk.advance(self._buffer, position, len(self._buffer))
        if not walk.depth:
            self._note_ends(walk.end_before, walk.end)
        return position

    def _set_full(self) -> None:
        """Let the walk come back where the header would hold more than it may."""
        room = self._limit - len(self._content)
        self._walk.full_at = self._run + room + 1 if self._is_capturing else NEVER

    def _end(self) -> None:
        """Close what the data set left open, or refuse it."""
        walk = self._walk
        is_judged = self._judges_whole or not walk.pixels_reached
        fault = self._fault() if is_judged else None
        if fault is not None:
            raise fault
        if walk.top_tag in PIXEL_TAGS or not (self._skip or self._pending or walk.is_promised_more):
            walk.close_all(0)
        elif self._skip and not walk.depth and self._is_capturing:
            self._mark = self._mark_before
        if is_judged and self._inflater is not None and not self._inflater.is_finished:
            raise InvalidInstance("the deflated data set is cut short", tag=walk.tag)

    def _fault(self) -> InvalidInstance | None:
        """What is missing at the end, if it is of an element."""
        walk = self._walk
        if not self._is_element():
            return None
        if self._skip:
            return cut_value(walk.tag, came=self._left_out - self._skip, declared=self._left_out)
        is_inside = bool(self._pending) or walk.is_promised_more
        if walk.depth and (self._judges_whole or is_inside):
            return cut_container(walk.top_tag, inside=is_inside)
        if any(self._pending):
            return cut_element(self._pending, walk.encoding, walk.tag)
        return None

    def _is_element(self) -> bool:
        """Whether the top-level element that has not ended is one; behind Pixel Data it may be garbage."""
        walk = self._walk
        if not walk.pixels_reached:
            return True
        if self._skip or walk.depth:
            return walk.top_tag in PIXEL_TAGS or belongs_behind_pixels(walk.top_tag)
        head = self._pending
        return len(head) >= SMALLEST_HEADER and belongs_behind_pixels(begun_tag(head, walk.encoding))

    def _stop_capture(self, tag: int) -> None:
        self._keep_to_mark()
        self._is_capturing = False
        self._set_full()
        if not self._judges_whole:
            self._walk.over = tag > _LAST_UID
            self._walk.heeded = None  # each element may now be the last that is looked at

    def _keep_to_mark(self) -> None:
        """Let the content end where the last top-level element does that it may hold."""
        missing = self._mark - len(self._content)
        if missing > 0:
            self._content += self._buffer[self._run : self._run + missing]
        del self._content[self._mark :]

    def _note_ends(self, *positions: int) -> None:
        """Note that top-level elements end at these positions of the buffer; the header may end there."""
        if not self._is_capturing:
            return
        for position in positions:
            kept = len(self._content) + position - self._run
            if position >= self._run and self._mark < kept <= self._limit:
                self._mark, self._mark_offset = kept, position + self._walk.delta

    # What the walk tells (grammar.Visitor).

    def element(self, tag: int, vr: str, start: int, value: int, length: int) -> None:
        """Stays in the run of bytes to keep."""
        if not self._walk.depth:
            if tag in _UIDS:
                self._uids[tag] = self._buffer[value : value + length]
            self._passed(tag)

    def left_out(self, tag: int, vr: str, start: int, value: int, length: int) -> int:
        """Ends a run of bytes to keep; the next begins after the value."""
        if self._walk.depth:
            return self.fragment(value, length)
        self._note_ends(start)
        position = self.fragment(value, length)
        self._uids.pop(tag, None)  # of equal tags the last counts, as it does for `Header`
        self._mark_before = self._mark
        self._note_ends(position)
        self._passed(tag)
        return position

    def _passed(self, tag: int) -> None:
        """Want no more once the header is full and no UID can follow."""
        if not (self._is_capturing or self._judges_whole):
            self._walk.over = tag > _LAST_UID

    def fragment(self, value: int, length: int) -> int:
        """Ends a run of bytes to keep; the next begins after the fragment."""
        if self._is_capturing:
            self._content += self._buffer[self._run : value]
        self._run = value + length
        self._left_out = length
        self._set_full()
        return self._run

    def opened(self, tag: int, vr: str, start: int, value: int, length: int, kind: int) -> None:
        """Stays in the run of bytes to keep."""
        if not self._walk.depth:
            self._note_ends(start)

    def opened_item(self, little: bool) -> None:
        """Stays in the run of bytes to keep."""

    def closed(self, kind: int, end: int) -> None:
        """Ends a top-level element, if it was one."""
        if not self._walk.depth:
            self._note_ends(end)
            self._passed(self._walk.tag)
