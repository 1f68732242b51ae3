"""The object store as a folder: one file per object, durable by fsync and atomic by rename.

A new object of a time-ordered key, which nothing else ever has, gets its name first; then file and folder are
fsync'd at once, which costs a journalling file system one commit instead of two.  The name is there before
the bytes are durable, so that power loss may leave a name with too few of them, for which nobody was
told success: the size noted beside the file shows it, and it is no blob.  Any other object may replace one,
and its bytes are durable before they get the name.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from services.common import logs
from services.common.adapters.disk_space import Reserve
from services.common.adapters.durable import (
    DurableFolders,
    SharedSync,
    make_root,
    private,
    remove_older,
    sync_folder,
)
from services.common.adapters.folder_metadata import (
    attributes_work,
    read_notes,
    remove_sidecar,
    set_attributes,
    write_sidecar,
)
from services.common.adapters.folder_tree import place, remove_past_span, walk
from services.common.errors import BlobMissing, Unavailable
from services.common.keys import Area, checked, is_timed
from services.common.model import BlobRef
from services.common.ports import BlobStat, Buffer

_log = logs.get(__name__)

_INCOMING = ".incoming"
_LOOK_BYTES = 16 * 2**20
_GROWING = (f"{Area.ORIGINALS}/", f"{Area.RENDITIONS}/", f"{Area.QUARANTINE}/")
"""What fills a disk; the small rest is written up to its last byte."""


class FolderStore:
    """Objects as files below `root`, in one bucket; several processes may share the folder.

    A text that is no key (`keys.checked`) raises ValueError and reaches no path.
    """

    def __init__(
        self,
        root: Path,
        bucket: str = "local",
        *,
        longest_put_seconds: float = 7200.0,
        reserve_bytes: int = 0,
        extended_attributes: bool | None = None,
    ) -> None:
        """Open the folder, made if need be, and clear away what a killed process left of its uploads.

        Images are not taken while less than `reserve_bytes` of the disk are free.  Metadata are extended
        attributes or sidecar files: found out by a probe unless given.

        Raises:
            Unavailable: the folder cannot be written to.
        """
        self.bucket = bucket
        self._root = root.absolute()
        self._incoming = self._root / _INCOMING
        self._folders = DurableFolders(self._root)
        self._names = SharedSync()
        self._reserve = Reserve(self._root, reserve_bytes)
        with _unavailable():
            make_root(self._incoming)
            remove_older(self._incoming, longest_put_seconds)
            if extended_attributes is None:
                extended_attributes = attributes_work(self._incoming)
        self.extended_attributes = extended_attributes

    def create(self, key: str) -> FolderWriter:
        """Begin a blob; a commit replaces an object of the same key whole.

        Raises:
            Unavailable: the disk is full, or does not serve.
        """
        reserve = self._reserve if checked(key).startswith(_GROWING) else None
        return FolderWriter(self, key, self._incoming / uuid.uuid4().hex, reserve)

    def open(self, ref: BlobRef) -> io.RawIOBase:
        """Read exactly the bytes of `ref`.

        Raises:
            BlobMissing: the object is not there, or is shorter than `ref` says.
        """
        if ref.bucket != self.bucket:
            raise BlobMissing(f"there is no bucket {ref.bucket} here")
        with _missing(ref.key):
            file = io.FileIO(place(self._root, ref.key), "r")
        if os.fstat(file.fileno()).st_size < ref.offset + ref.length:
            file.close()
            raise BlobMissing(f"{ref.key} has no {ref.length} bytes at {ref.offset}")
        file.seek(ref.offset)
        return _Extent(file, ref)

    def stat(self, key: str) -> BlobStat:
        """Size and metadata of one object.

        Raises:
            BlobMissing: the object is not there, or not whole.
        """
        path = place(self._root, key)
        with _missing(key):
            status = path.stat()
            if not S_ISREG(status.st_mode):
                raise BlobMissing(f"{key} is missing")
            metadata, size = read_notes(path)
        if size not in (None, status.st_size):
            raise BlobMissing(f"{key} has {status.st_size} of {size} bytes: its upload never came to its end")
        return _blob_stat(key, status, metadata)

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[BlobStat]:
        """At most `limit` objects that begin with `prefix` and are greater than `after`, in key order."""
        with _unavailable():
            return list(islice(self._listed(prefix, after), limit))

    def delete(self, key: str) -> None:
        """Remove an object; none of that key is no error."""
        path = place(self._root, key)
        with _unavailable(), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            remove_sidecar(path)
            sync_folder(path.parent)
            remove_past_span(path.parent)

    def publish(self, file: io.FileIO, temporary: Path, key: str, metadata: Mapping[str, str]) -> None:
        """Give a finished file of this store its key, durably; only a `FolderWriter` calls this."""
        path = place(self._root, key)
        self._folders.make(path.parent)
        publish = self._publish_new if is_timed(key) and self.extended_attributes else self._publish_in_place
        try:
            publish(file, temporary, path, metadata)
        except FileNotFoundError:  # somebody has removed a folder that was there
            self._folders.forget()
            self._folders.make(path.parent)
            publish(file, temporary, path, metadata)

    def _publish_new(self, file: io.FileIO, temporary: Path, path: Path, metadata: Mapping[str, str]) -> None:
        set_attributes(file.fileno(), metadata, size=os.fstat(file.fileno()).st_size)
        temporary.rename(path)
        try:
            names = self._names.begin(path.parent)
            os.fsync(file.fileno())
            names.result()
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _publish_in_place(
        self, file: io.FileIO, temporary: Path, path: Path, metadata: Mapping[str, str]
    ) -> None:
        if self.extended_attributes:
            set_attributes(file.fileno(), metadata)
        os.fsync(file.fileno())
        if metadata and not self.extended_attributes:
            write_sidecar(path, metadata, self._incoming / uuid.uuid4().hex)
            temporary.rename(path)
        else:
            temporary.rename(path)
            remove_sidecar(path)  # of an earlier object of this key
        sync_folder(path.parent)

    def _listed(self, prefix: str, after: str) -> Iterator[BlobStat]:
        for key, path in walk(self._root, prefix, after):
            with suppress(FileNotFoundError):  # deleted since its folder was read
                yield _blob_stat(key, path.stat(), {})


class FolderWriter:
    """A blob on its way in: a file out of sight that a commit renames into place."""

    def __init__(self, store: FolderStore, key: str, temporary: Path, reserve: Reserve | None) -> None:
        self._store = store
        self._key = key
        self._temporary = temporary
        self._size = 0
        self._reserve = reserve
        self._next_look = 0
        self._look()
        with _unavailable():
            self._file = io.FileIO(temporary, "xb", opener=private)

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            Unavailable: the disk is full or broken.
        """
        view = memoryview(data).cast("B")
        with _unavailable():
            while view:
                written = self._file.write(view)
                self._size += written
                view = view[written:]
        self._look()

    def commit(
        self, metadata: Mapping[str, str], *, key: str | None = None, sha256: str | None = None
    ) -> BlobRef:
        """Make the blob durable and visible, under `key` instead of the one it was begun for if given."""
        key = checked(key or self._key)
        with _unavailable():
            self._store.publish(self._file, self._temporary, key, metadata)
            self._file.close()
        return BlobRef(bucket=self._store.bucket, key=key, offset=0, length=self._size)

    def _look(self) -> None:
        """Now and then look whether the disk has room."""
        if self._reserve is not None and self._size >= self._next_look:
            self._reserve.check()
            self._next_look = self._size + _LOOK_BYTES

    def abort(self) -> None:
        """Forget the blob; what a broken disk keeps of it is removed when the store is next opened."""
        if not self._file.closed:
            try:
                self._file.close()
                self._temporary.unlink(missing_ok=True)
            except OSError as exc:
                _log.warning("upload_not_aborted", key=self._key, reason=exc.strerror)


class _Extent(io.RawIOBase):
    """Exactly the bytes of a reference, from a file that stands at the first of them."""

    def __init__(self, file: io.FileIO, ref: BlobRef) -> None:
        self._file = file
        self._key = ref.key
        self._left = ref.length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")[: self._left]
        with _unavailable():
            count = self._file.readinto(view) or 0
        if view and not count:
            raise BlobMissing(f"{self._key} ends {self._left} bytes early")
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(f"the blob folder does not serve: {exc.strerror}") from exc


@contextmanager
def _missing(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise BlobMissing(f"{key} is missing") from exc
    except OSError as exc:
        raise Unavailable(f"the blob folder does not serve: {exc.strerror}") from exc


def _blob_stat(key: str, status: os.stat_result, metadata: Mapping[str, str]) -> BlobStat:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return BlobStat(key=key, size=status.st_size, modified=modified, metadata=metadata)
