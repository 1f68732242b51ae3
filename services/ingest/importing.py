"""Import of files and folders: what was taken, what was here already, and what was refused and why."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from services.common.errors import InvalidInstance, NotFound
from services.common.intake import Intake
from services.common.model import Source
from services.common.part10 import PREAMBLE, PREFIX, HeaderScanner, read_file_meta

BATCH_FILES = 50
_CHUNK_BYTES = 256 * 1024
_SOP_INSTANCE_UID = 0x00080018
_DIRECTORY = "1.2.840.10008.1.3.10"
_NOT_DICOM = "not a DICOM file"


class Outcome(Enum):
    """What became of a file."""

    TAKEN = "taken"
    KNOWN = "already here"
    REFUSED = "refused"
    PASSED_OVER = "passed over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one file; `reason` says why where it was not taken."""

    path: Path
    outcome: Outcome
    reason: str = ""


class _NotRegular(OSError):
    """Something other than a file with content."""


class KnownOriginals(Protocol):
    """What import asks of the catalog."""

    def known(self, sop_instance_uids: Collection[str]) -> set[tuple[str, str]]:
        """SOP Instance UID and data set digest of every original of these instances, served or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a file says it holds, as far as it can be read."""

    path: Path
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    digest: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What the catalog knows an original by."""
        return self.sop_instance_uid, self.digest


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named, in order; links to folders are not followed.

    Raises:
        NotFound: a path that was named does not exist.
    """
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                links = [name for name in folders if Path(folder, name).is_symlink()]
                yield from (Path(folder, name) for name in sorted([*names, *links]))
        elif path.is_symlink() or path.exists():
            yield path
        else:
            raise NotFound(f"{path}: there is no such file or folder")


def import_files(
    paths: Iterable[Path], intake: Intake, catalog: KnownOriginals, source: Source
) -> Iterator[Imported]:
    """Take every file that the catalog does not know yet, to the byte, and tell what became of each.

    Raises:
        Unavailable: the catalog or the object store does not answer; what was told before stays taken.
    """
    remaining = iter(paths)
    while batch := list(islice(remaining, BATCH_FILES)):
        contents = [_content(path) for path in batch]
        known = catalog.known({c.sop_instance_uid for c in contents if isinstance(c, _Content)} - {""})
        for content in contents:
            yield _import(content, known, intake, source)


def _import(
    content: _Content | Imported, known: set[tuple[str, str]], intake: Intake, source: Source
) -> Imported:
    if isinstance(content, Imported):
        return content
    if content.sop_class_uid == _DIRECTORY:
        return Imported(path=content.path, outcome=Outcome.PASSED_OVER, reason="a directory of other files")
    if content.identity in known:
        return Imported(path=content.path, outcome=Outcome.KNOWN)
    try:
        with _open(content.path) as stream:
            stored = intake.accept_file(stream, source)
    except InvalidInstance as refusal:
        return Imported(path=content.path, outcome=Outcome.REFUSED, reason=str(refusal))
    except OSError as exc:
        return _unreadable(content.path, exc)
    known.add((stored.key.sop_instance_uid, stored.digests.data_set))
    return Imported(path=content.path, outcome=Outcome.TAKEN)


def _content(path: Path) -> _Content | Imported:
    """What the file holds; one that cannot be opened, or is no DICOM file, is told at once."""
    try:
        with _open(path) as stream:
            return _scanned(path, stream)
    except OSError as exc:
        return _unreadable(path, exc)


def _open(path: Path) -> BinaryIO:
    """The file, opened; whatever else has a name in a folder (a pipe, a device) is never waited for.

    Raises:
        _NotRegular: it is something else.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotRegular(errno.EINVAL, "no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _scanned(path: Path, stream: BinaryIO) -> _Content | Imported:
    """What the file holds; of a DICOM file that cannot be read intake says why, and keeps the bytes."""
    head = stream.read(len(PREAMBLE) + len(PREFIX))
    is_dicom = PREFIX in (head[: len(PREFIX)], head[len(PREAMBLE) :])
    stream.seek(0)
    digest = hashlib.sha256()
    try:
        meta = read_file_meta(stream)
        stream.seek(meta.data_set_offset)
        scanner = HeaderScanner(meta.transfer_syntax_uid)
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            scanner.feed(chunk)
            is_dicom |= bool(scanner.text(_SOP_INSTANCE_UID))
        scanner.finish()
    except InvalidInstance as refusal:
        return _Content(path=path) if is_dicom else _not_dicom(path, str(refusal))
    if not is_dicom:
        return _not_dicom(path, "it has no SOP Instance UID")
    return _Content(
        path=path,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=scanner.text(_SOP_INSTANCE_UID) or "",
        digest=digest.hexdigest(),
    )


def _not_dicom(path: Path, why: str) -> Imported:
    reason = why if why.startswith(_NOT_DICOM) else f"{_NOT_DICOM}: {why}"
    return Imported(path=path, outcome=Outcome.PASSED_OVER, reason=reason)


def _unreadable(path: Path, exc: OSError) -> Imported:
    outcome = Outcome.PASSED_OVER if isinstance(exc, _NotRegular) else Outcome.REFUSED
    return Imported(path=path, outcome=outcome, reason=exc.strerror or type(exc).__name__)
