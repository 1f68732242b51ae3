"""DICOM files as what a sender sends: instances outside of any archive (PS3.10)."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from services.common.errors import BlobMissing, InvalidInstance, Unavailable
from services.common.model import BlobRef, CapturedHeader, Digests, InstanceKey, Location
from services.common.part10 import FileMeta, HeaderScanner, read_file_meta

_DIRECTORY = "1.2.840.10008.1.3.10"
_BUCKET = "files"
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_CHUNK_BYTES = 16 * 1024
_NOT_CAPTURED = CapturedHeader(version=1, content=b"", covers=0)


class NoInstance(InvalidInstance):
    """It is no DICOM file, or one that is sent to nobody."""


class FileReader:
    """The bytes of the files that `locate_file` described (`ports.BlobReader`)."""

    def open(self, ref: BlobRef) -> io.RawIOBase:
        """Read the bytes of `ref`.

        Raises:
            BlobMissing: the file is gone, or shorter than it was.
        """
        try:
            file = io.FileIO(_descriptor(Path(ref.key)), "r")
        except (OSError, NoInstance) as exc:
            raise BlobMissing(f"{ref.key}: {exc}") from exc
        return _Rest(file, ref)


class _Rest(io.RawIOBase):
    """What a reference says of a file."""

    def __init__(self, file: io.FileIO, ref: BlobRef) -> None:
        self._file = file
        self._ref = ref
        self._left = ref.length
        self._file.seek(ref.offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: self._left]
        try:
            count = self._file.readinto(view) or 0
        except OSError as exc:
            raise Unavailable(f"{self._ref.key}: {exc.strerror}") from exc
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def locate_file(path: Path) -> Location:
    """The instance that a file holds; its place in a study is left open.

    Raises:
        NoInstance: it holds none: it is a directory of files, or no DICOM file, or no regular one.
        InvalidInstance: it does not name it, or is broken.
        OSError: it cannot be read.
    """
    with io.FileIO(_descriptor(path), "r") as stream:
        meta = _meta(stream)
        stream.seek(meta.data_set_offset)
        sop_class, sop_instance = _named(stream, meta.transfer_syntax_uid)
        length = os.fstat(stream.fileno()).st_size
    sop_class = sop_class or meta.sop_class_uid
    if sop_class == _DIRECTORY:
        raise NoInstance("a directory of other files")
    sop_instance = sop_instance or meta.sop_instance_uid
    for tag, uid in ((_SOP_CLASS_UID, sop_class), (_SOP_INSTANCE_UID, sop_instance)):
        if not uid:
            raise InvalidInstance(f"it has no ({tag >> 16:04X},{tag & 0xFFFF:04X})", tag=tag)
    return Location(
        key=InstanceKey(study_instance_uid="", series_instance_uid="", sop_instance_uid=sop_instance),
        sop_class_uid=sop_class,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        blob=BlobRef(bucket=_BUCKET, key=os.fspath(path), offset=0, length=length),
        data_set_offset=meta.data_set_offset,
        digests=Digests(data_set="", file=""),
        header=_NOT_CAPTURED,
    )


def _meta(stream: io.FileIO) -> FileMeta:
    try:
        return read_file_meta(stream)
    except InvalidInstance as error:
        if error.tag is None:
            raise NoInstance(str(error)) from error
        raise


def _named(stream: io.FileIO, transfer_syntax_uid: str) -> tuple[str, str]:
    """SOP Class and SOP Instance UID as the data set has them, which stand at its beginning."""
    scanner = HeaderScanner(transfer_syntax_uid)
    sop_class = sop_instance = None
    while sop_instance is None and (chunk := stream.read(_CHUNK_BYTES)) and stream.tell() < 2**20:
        scanner.feed(chunk)
        sop_class, sop_instance = scanner.text(_SOP_CLASS_UID), scanner.text(_SOP_INSTANCE_UID)
    return sop_class or "", sop_instance or ""


def _descriptor(path: Path) -> int:
    """The file, opened; whatever else has a name in a folder (a pipe, a device) is never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoInstance("no regular file")
    return descriptor
