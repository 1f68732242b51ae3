"""multipart/related, as DICOMweb receives it: a body in pieces becomes files (RFC 2046 5.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from services.common.errors import InvalidQuery

SPOOL_BYTES = 4 * 2**20
"""A part that is larger goes to a temporary file."""


def spool() -> BinaryIO:
    """A file for what comes over the network, in memory while it is small."""
    return cast(BinaryIO, SpooledTemporaryFile(max_size=SPOOL_BYTES))


class PartReader:
    """Takes a multipart body in pieces, cut anywhere, and gives its parts as files.

    Whoever takes a part closes it; `close` closes those that nobody took.
    """

    def __init__(self, boundary: str) -> None:
        """Begin a body.

        Raises:
            InvalidQuery: there is no such boundary.
        """
        self._whole: deque[BinaryIO] = deque()
        self._open: BinaryIO | None = None
        self._ended = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._finish,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary.encode("latin-1"), callbacks)  # type: ignore[arg-type]
        except (FormParserError, UnicodeEncodeError) as exc:
            raise InvalidQuery("the Content-Type names no valid boundary") from exc
        if not boundary:
            raise InvalidQuery("the Content-Type names no boundary")

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            InvalidQuery: this is no multipart body.
        """
        try:
            self._parser.write(data)
        except FormParserError as exc:
            raise InvalidQuery("the body is not multipart as its Content-Type says") from exc

    def take(self) -> Iterator[BinaryIO]:
        """The parts that have become whole, each at its first byte."""
        while self._whole:
            yield self._whole.popleft()

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            InvalidQuery: it ended before its last boundary.
        """
        if not self._ended:
            raise InvalidQuery("the multipart body ends before its last boundary")

    def close(self) -> None:
        """Drop what nobody took, and a part that never ended."""
        for part in self.take():
            part.close()
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin(self) -> None:
        self._open = spool()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open.write(memoryview(data)[start:end])

    def _finish(self) -> None:
        if self._open is not None:
            self._open.seek(0)
            self._whole.append(self._open)
            self._open = None

    def _end(self) -> None:
        self._ended = True
