"""The `Converter` port on the codec pool."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

from services.common.model import Location
from services.common.pixels.decompression import decompressed
from services.common.pixels.pool import CodecPool
from services.common.ports import BlobReader, Buffer, EncodedDataSet


class PoolConverter:
    """Uncompressed data sets of stored ones; the pool decodes pixels, frame by frame as they are read."""

    def __init__(self, store: BlobReader, pool: CodecPool) -> None:
        self._store = store
        self._pool = pool

    def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
        """The original in Implicit or Explicit VR Little Endian.

        Raises:
            NotAcceptable: no codec decodes it, or it is broken.
            InvalidInstance: its data set cannot be read.
            BlobMissing: the original is not in the store.
        """
        steps = self._steps(location, transfer_syntax_uid)
        length = cast(int, next(steps))
        return EncodedDataSet(length=length, pieces=cast("Generator[Buffer, None, None]", steps))

    def _steps(self, location: Location, transfer_syntax_uid: str) -> Generator[int | Buffer, None, None]:
        """The length, then the pieces: begun at once, so that closing it lets go of what it opened."""
        with decompressed(
            self._store,
            location.data_set,
            location.transfer_syntax_uid,
            transfer_syntax_uid,
            self._pool,
            location.header,
        ) as data_set:
            yield data_set.length
            yield from data_set.buffers
