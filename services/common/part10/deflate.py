"""Deflated data sets (PS3.5 A.5): inflated in bounded pieces, bombs refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from services.common.errors import InvalidInstance

PIECE = 64 * 1024
FREE = 256 * 1024 * 1024
"""Inflated bytes that are never too many: a blank multi-frame shrinks to a thousandth."""
RATIO = 100
"""Beyond `FREE`, how many bytes one deflated byte may become."""


class Inflater:
    """Gives back the Explicit VR Little Endian bytes of a deflated data set.

    The stream is a bare deflate bit stream (RFC 1951); one that a sender wrapped as zlib's is read too.
    """

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None
        self._head = b""
        self.taken = 0
        """Deflated bytes fed."""
        self.given = 0
        """Bytes given back."""

    @property
    def is_finished(self) -> bool:
        """Whether the end of the deflated stream was seen."""
        return self._inflate is not None and self._inflate.eof

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """What the next deflated bytes become, in pieces of at most 64 KiB; exhaust it before the next feed.

        Raises:
            InvalidInstance: the bytes are not deflated, or become more than `FREE` and `RATIO` allow.
        """
        self.taken += len(data)
        pending: bytes | memoryview = memoryview(data)
        if self._inflate is None:
            pending = self._head + bytes(pending)
            if len(pending) < 2:
                self._head = pending
                return
            self._inflate = zlib.decompressobj(_window(pending))
        inflate = self._inflate
        try:
            while pending and not inflate.eof:
                piece = inflate.decompress(pending, PIECE)
                pending = inflate.unconsumed_tail
                self.given += len(piece)
                if self.given > FREE and self.given > RATIO * self.taken:
                    raise InvalidInstance(
                        f"the deflated data set becomes more than {self.given - len(piece)} bytes"
                        f" from {self.taken}"
                    )
                if piece:
                    yield piece
        except zlib.error as exc:
            raise InvalidInstance("the data set is announced as deflated and is not") from exc


def _window(head: bytes) -> int:
    wrapped = head[0] & 0x0F == 8 and head[0] >> 4 <= 7 and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
