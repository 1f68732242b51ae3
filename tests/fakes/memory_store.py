"""An object store in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from services.common.errors import BlobMissing, Unavailable
from services.common.keys import checked
from services.common.model import BlobRef
from services.common.ports import BlobStat, Buffer


class MemoryStore:
    """Objects in a dict; while `down` is set every call raises Unavailable."""

    bucket = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.down = False

    def create(self, key: str) -> MemoryWriter:
        self._up()
        return MemoryWriter(self, checked(key))

    def open(self, ref: BlobRef) -> io.RawIOBase:
        self._up()
        content, _ = self._get(ref.key)
        if ref.bucket != self.bucket or len(content) < ref.offset + ref.length:
            raise BlobMissing(f"{ref.key} is missing or short")
        return _Bytes(content[ref.offset : ref.offset + ref.length])

    def stat(self, key: str) -> BlobStat:
        self._up()
        content, metadata = self._get(key)
        return BlobStat(key=key, size=len(content), modified=datetime.now(UTC), metadata=metadata)

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[BlobStat]:
        self._up()
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        now = datetime.now(UTC)
        return [
            BlobStat(key=key, size=len(self.objects[key][0]), modified=now, metadata={})
            for key in keys[:limit]
        ]

    def delete(self, key: str) -> None:
        self._up()
        self.objects.pop(checked(key), None)

    def _up(self) -> None:
        if self.down:
            raise Unavailable("the store is down")

    def _get(self, key: str) -> tuple[bytes, dict[str, str]]:
        try:
            return self.objects[checked(key)]
        except KeyError as exc:
            raise BlobMissing(f"{key} is missing") from exc


class MemoryWriter:
    """A blob on its way into a `MemoryStore`."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._content = bytearray()

    def write(self, data: Buffer) -> None:
        self._store._up()
        self._content += data

    def commit(
        self, metadata: Mapping[str, str], *, key: str | None = None, sha256: str | None = None
    ) -> BlobRef:
        self._store._up()
        key = checked(key or self._key)
        self._store.objects[key] = (bytes(self._content), dict(metadata))
        return BlobRef(bucket=self._store.bucket, key=key, offset=0, length=len(self._content))

    def abort(self) -> None:
        self._content.clear()


class _Bytes(io.RawIOBase):
    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
