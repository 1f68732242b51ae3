"""Import of files and folders: what was taken, what was here already, and what was refused and why."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidInstance, NotFound
from services.common.intake import Intake
from services.common.model import Source
from services.common.part10 import HeaderScanner, read_file_meta
from services.common.ports import CatalogReader
from services.common.query import OneOf, Selection

BATCH_FILES = 50
_CHUNK_BYTES = 256 * 1024
_SOP_INSTANCE_UID = 0x00080018
_DIRECTORY = "1.2.840.10008.1.3.10"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a file says it holds; a file that says nothing readable has neither."""

    path: Path
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    digest: str = ""


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
    paths: Iterable[Path], intake: Intake, catalog: CatalogReader, source: Source
) -> Iterator[Imported]:
    """Take every file that the catalog does not hold yet, to the byte, and tell what became of each.

    Raises:
        Unavailable: the catalog or the object store does not answer; what was told before stays taken.
    """
    remaining = iter(paths)
    while batch := list(islice(remaining, BATCH_FILES)):
        contents = [_content(path) for path in batch]
        known = _known(catalog, contents)
        for content in contents:
            yield _import(content, known, intake, source)


def _import(content: _Content | Imported, known: set[str], intake: Intake, source: Source) -> Imported:
    if isinstance(content, Imported):
        return content
    if content.sop_class_uid == _DIRECTORY:
        return Imported(path=content.path, outcome=Outcome.PASSED_OVER, reason="a directory of other files")
    if content.digest in known:
        return Imported(path=content.path, outcome=Outcome.KNOWN)
    try:
        with _open(content.path) as stream:
            stored = intake.accept_file(stream, source)
    except InvalidInstance as refusal:
        return Imported(path=content.path, outcome=Outcome.REFUSED, reason=str(refusal))
    except OSError as exc:
        return _unreadable(content.path, exc)
    known.add(stored.digests.data_set)
    return Imported(path=content.path, outcome=Outcome.TAKEN)


def _content(path: Path) -> _Content | Imported:
    """What the file holds; a file that cannot be opened is told at once."""
    try:
        with _open(path) as stream:
            return _scanned(path, stream)
    except InvalidInstance:
        return _Content(path=path)  # intake says why, and keeps the bytes
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


def _scanned(path: Path, stream: BinaryIO) -> _Content:
    meta = read_file_meta(stream)
    stream.seek(meta.data_set_offset)
    scanner = HeaderScanner(meta.transfer_syntax_uid)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        scanner.feed(chunk)
        digest.update(chunk)
    scanner.finish()
    return _Content(
        path=path,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=scanner.text(_SOP_INSTANCE_UID) or "",
        digest=digest.hexdigest(),
    )


def _known(catalog: CatalogReader, contents: Sequence[_Content | Imported]) -> set[str]:
    """The data set digests of those instances that the catalog serves already."""
    uids = {c.sop_instance_uid for c in contents if isinstance(c, _Content) and c.sop_instance_uid}
    if not uids:
        return set()
    wanted = OneOf(attribute=BY_KEYWORD["SOPInstanceUID"], values=tuple(sorted(uids)))
    return {location.digests.data_set for location in catalog.locate(Selection(conditions=(wanted,)))}


def _unreadable(path: Path, exc: OSError) -> Imported:
    outcome = Outcome.PASSED_OVER if isinstance(exc, _NotRegular) else Outcome.REFUSED
    return Imported(path=path, outcome=outcome, reason=exc.strerror or type(exc).__name__)
