"""The bytes of a stored data set, by range and in pieces, at best from front to back in one read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from services.common.errors import InvalidInstance
from services.common.model import BlobRef, CapturedHeader
from services.common.part10 import Header, Inflater, complete, is_deflated
from services.common.part10.scanner import VERSION
from services.common.ports import BlobReader, Buffer

_PIECE = 256 * 1024
_SKIP = 1024 * 1024
"""A gap up to this is read over rather than asked for anew."""
_SMALL = 4 * 1024 * 1024
"""A data set up to this is read once and kept, for header, pixels and what follows are asked for in turn."""


class DataSetReader:
    """Reads a data set with the offsets that its header gives; a deflated one is inflated as it passes."""

    def __init__(self, store: BlobReader, data_set: BlobRef, *, deflated: bool = False) -> None:
        self._store = store
        self._data_set = data_set
        self._deflated = deflated
        self._stream: io.RawIOBase | None = None
        self._opened = False
        self._pieces: Iterator[bytes] = iter(())
        self._left = memoryview(b"")
        self._position = 0
        self._kept: bytes | None = None

    def __enter__(self) -> DataSetReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pieces(self, offset: int, length: int | None = None) -> Iterator[Buffer]:
        """The `length` bytes from `offset`, or all that follow, in pieces that stay valid.

        Ranges are read one at a time, each to its end.

        Raises:
            InvalidInstance: the data set ends before.
        """
        self._seek(offset)
        while length is None or length > 0:
            piece = self._next(_PIECE if length is None else min(length, _PIECE))
            if not len(piece):
                if length is None:
                    return
                raise InvalidInstance("the data set ends before its pixels do")
            if length is not None:
                length -= len(piece)
            yield piece

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer only at the end of the data set."""
        self._seek(offset)
        out = bytearray()
        while len(out) < length:
            piece = self._next(length - len(out))
            if not len(piece):
                break
            out += piece
        return bytes(out)

    def _seek(self, offset: int) -> None:
        gap = offset - self._position
        if not self._opened or gap < 0 or (gap > _SKIP and not self._deflated):
            self._open(0 if self._deflated else offset)
        while self._position < offset:
            if not len(self._next(offset - self._position)):
                return

    def _open(self, offset: int) -> None:
        self.close()
        offset = min(offset, self._data_set.length)
        raw = self._raw(offset)
        self._pieces = self._inflated(raw) if self._deflated else raw
        self._opened = True
        self._left = memoryview(b"")
        self._position = offset

    def close(self) -> None:
        """Let go of the store's stream; a later read opens another."""
        self._opened = False
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _next(self, longest: int) -> memoryview:
        while not len(self._left):
            data = next(self._pieces, None)
            if data is None:
                break
            self._left = memoryview(data)
        piece, self._left = self._left[:longest], self._left[longest:]
        self._position += len(piece)
        return piece

    def _raw(self, offset: int) -> Iterator[bytes]:
        if self._data_set.length <= _SMALL:
            if self._kept is None:
                with self._store.open(self._data_set) as stream:
                    self._kept = b"".join(iter(lambda: stream.read(_PIECE) or b"", b""))
            yield self._kept[offset:]
            return
        self._stream = self._store.open(self._data_set.part(offset, self._data_set.length - offset))
        while data := self._stream.read(_PIECE):
            yield data

    @staticmethod
    def _inflated(raw: Iterator[bytes]) -> Iterator[bytes]:
        inflater = Inflater()
        for data in raw:
            yield from inflater.feed(data)


@contextmanager
def opened(
    store: BlobReader, data_set: BlobRef, transfer_syntax_uid: str, captured: CapturedHeader | None = None
) -> Iterator[tuple[DataSetReader, Header]]:
    """A stored data set: its bytes, and its whole header; what `captured` holds already is not read again.

    Raises:
        InvalidInstance: it cannot be read.
    """
    begun = captured or CapturedHeader(version=VERSION, content=b"", covers=0)
    with DataSetReader(store, data_set) as reader:
        whole = complete(begun, transfer_syntax_uid, reader.read, data_set.length)
        header = Header(whole, transfer_syntax_uid)
        if not is_deflated(transfer_syntax_uid):
            yield reader, header
            return
    with DataSetReader(store, data_set, deflated=True) as reader:
        yield reader, header
