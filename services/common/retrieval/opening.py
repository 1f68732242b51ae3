"""One instance on its way out: its bytes in pieces, the first of them in memory before anybody is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from services.common import logs
from services.common.errors import BlobMissing, GantryError, NotAcceptable
from services.common.model import BlobRef, Location
from services.common.part10 import is_cut_short
from services.common.ports import BlobReader, Buffer, Converter
from services.common.retrieval.blocks import BLOCK_BYTES, Blocks
from services.common.retrieval.forms import ANY, Form, form_without_rendition

_log = logs.get(__name__)

_BEGUN_BYTES = 2**20
"""So much of a conversion is there before anybody is told, so that a codec has had its say."""

_Pieces = Generator[Buffer, None, None]


class Chunks:
    """The bytes of a data set in pieces, to be read once; the first lie in memory already."""

    def __init__(
        self,
        begun: Sequence[Buffer] = (),
        rest: _Pieces | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """With `blocks` each piece lies in one of them, which is given back when the next is asked for."""
        self._begun = deque(begun)
        self._rest = rest
        self._blocks = blocks
        self._given: Buffer = b""

    def __iter__(self) -> Iterator[Buffer]:
        return self

    def __next__(self) -> Buffer:
        self._take_back(self._given)
        self._given = b""
        if self._begun:
            self._given = self._begun.popleft()
        elif self._rest is not None:
            self._given = next(self._rest)
        else:
            raise StopIteration
        return self._given

    @property
    def beginning(self) -> Buffer:
        """The first piece, where it lies in memory."""
        return self._begun[0] if self._begun else b""

    def close(self) -> None:
        """Let go of what is open; harmless a second time."""
        self._take_back(self._given, *self._begun)
        self._given = b""
        self._begun.clear()
        if self._rest is not None:
            self._rest.close()

    def _take_back(self, *pieces: Buffer) -> None:
        if self._blocks is not None:
            self._blocks.give_back(
                piece.obj
                for piece in pieces
                if isinstance(piece, memoryview) and isinstance(piece.obj, bytearray)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One instance to be written out, or the `error` for which it cannot be.

    `chunks` gives the `length` bytes of the data set alone, without preamble and file meta information,
    in `transfer_syntax_uid`.  It is good until the next instance is asked for.
    """

    location: Location
    transfer_syntax_uid: str = ""
    length: int = 0
    chunks: Chunks = field(default_factory=Chunks)
    error: GantryError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Opens instances in the form that was chosen for them; threads may share it.

    Without `blocks` each piece lies in memory of its own.
    """

    store: BlobReader
    converter: Converter
    blocks: Blocks | None

    def open(self, location: Location, form: Form, accepted: Sequence[str], ahead: int) -> Outgoing:
        """The instance with at least its first piece in memory, and up to `ahead` bytes.

        So what is missing or broken shows before anything is sent.  A rendition that is lost is made again
        one day; until then the original serves, if `accepted` allows it.
        """
        try:
            outgoing = self._opened(location, form, ahead)
            if form.data_set == location.data_set and tuple(accepted) != ANY:
                _refuse_if_cut_short(outgoing)
            return outgoing
        except BlobMissing as error:
            other = form_without_rendition(location, accepted)
            if other is None or other == form:
                return Outgoing(location=location, error=error)
            return self.open(location, other, accepted, ahead)
        except GantryError as error:
            return Outgoing(location=location, error=error)

    def open_early(
        self, location: Location, form: Form, accepted: Sequence[str], ahead: int
    ) -> Outgoing | None:
        """As `open`, before its turn; None where it would keep a codec process from those whose turn it is.

        A conversion that is longer than `ahead` is such a one: it cannot be read to its end.
        """
        if form.data_set is not None:
            return self.open(location, form, accepted, ahead)
        try:
            encoded = self.converter.convert(location, form.transfer_syntax_uid)
            if encoded.length > ahead:
                encoded.pieces.close()
                return None
            return _outgoing(location, form, encoded.length, encoded.pieces, ahead=encoded.length)
        except GantryError as error:
            return Outgoing(location=location, error=error)

    def _opened(self, location: Location, form: Form, ahead: int) -> Outgoing:
        if form.data_set is None:
            encoded = self.converter.convert(location, form.transfer_syntax_uid)
            begun = max(ahead, _BEGUN_BYTES)
            return _outgoing(location, form, encoded.length, encoded.pieces, ahead=begun)
        lease = _new_block if self.blocks is None else self.blocks.lease
        pieces = _pieces(self.store, form.data_set, lease)
        return _outgoing(location, form, form.data_set.length, pieces, ahead=ahead, blocks=self.blocks)


def _outgoing(
    location: Location, form: Form, length: int, pieces: _Pieces, *, ahead: int, blocks: Blocks | None = None
) -> Outgoing:
    first: list[Buffer] = []
    size = 0
    for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size >= ahead:
            break
    return Outgoing(
        location=location,
        transfer_syntax_uid=form.transfer_syntax_uid,
        length=length,
        chunks=Chunks(first, pieces, blocks),
    )


def _refuse_if_cut_short(outgoing: Outgoing) -> None:
    """Refuse an original that ends inside its Pixel Data: its receiver may end the association over it.

    Intake takes none such; one that lies in the store is older than that.

    Raises:
        NotAcceptable: it is one.
    """
    beginning = outgoing.chunks.beginning
    if is_cut_short(beginning, outgoing.transfer_syntax_uid, outgoing.length):
        outgoing.chunks.close()
        location = outgoing.location
        _log.error(
            "instance_cut_short", sop_instance_uid=location.key.sop_instance_uid, key=location.blob.key
        )
        raise NotAcceptable("its data set ends inside its Pixel Data, and is not sent so")


def _pieces(store: BlobReader, data_set: BlobRef, lease: Callable[[], bytearray]) -> _Pieces:
    """The bytes of a blob, each piece in a block of its own."""
    left = data_set.length
    with closing(store.open(data_set)) as stream:
        while left:
            piece = memoryview(lease())[:left]
            filled = 0
            while filled < len(piece):
                count = stream.readinto(piece[filled:])
                if not count:
                    raise BlobMissing(f"{data_set.key} ends {left - filled} bytes early")
                filled += count
            left -= filled
            yield piece


def _new_block() -> bytearray:
    return bytearray(BLOCK_BYTES)
