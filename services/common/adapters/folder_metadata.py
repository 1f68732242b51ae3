"""Short notes beside a file: extended attributes, or a hidden sidecar file where there are none."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from services.common.adapters.durable import private

_PREFIX = "user.gantry."
_NOTES = f"{_PREFIX}notes"
_SIZE = ":size"
"""No name of an object's metadata (`ports.BlobWriter.commit`)."""
_UNSUPPORTED = {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOSYS}


def attributes_work(folder: Path) -> bool:
    """Whether the file system of `folder` keeps extended attributes."""
    probe = folder / uuid.uuid4().hex
    with open(probe, "xb", opener=private) as file:
        try:
            os.setxattr(file.fileno(), f"{_PREFIX}probe", b"1")
        except OSError as exc:
            if exc.errno in _UNSUPPORTED:
                return False
            raise
        finally:
            probe.unlink()
    return True


def set_attributes(descriptor: int, metadata: Mapping[str, str], *, size: int | None = None) -> None:
    """Note `metadata`, ASCII, and a size, in one attribute of an open file: each one costs the disk anew."""
    notes: dict[str, str | int] = dict(metadata)
    if size is not None:
        notes[_SIZE] = size
    if notes:
        os.setxattr(descriptor, _NOTES, json.dumps(notes).encode("ascii"))


def write_sidecar(path: Path, metadata: Mapping[str, str], temporary: Path) -> None:
    """Note `metadata` in a file beside the one at `path`, by way of a temporary file."""
    with open(temporary, "xb", opener=private) as file:
        file.write(json.dumps(dict(metadata)).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(_sidecar(path))


def remove_sidecar(path: Path) -> None:
    """Forget the notes beside the file at `path`; none are no error."""
    with suppress(FileNotFoundError):
        _sidecar(path).unlink()


def read_notes(path: Path) -> tuple[Mapping[str, str], int | None]:
    """What was noted of the file at `path`, in either way: metadata, and its size in bytes if that was."""
    notes = _attributes(path) or _read_sidecar(path)
    size = notes.pop(_SIZE, None)
    return notes, None if size is None else int(size)


def _attributes(path: Path) -> dict[str, str]:
    try:
        names = [name for name in os.listxattr(path) if name.startswith(_PREFIX)]
        if _NOTES in names:
            notes: dict[str, str] = json.loads(os.getxattr(path, _NOTES))
            return notes
        # Files of the first archives have an attribute for each note.
        return {name.removeprefix(_PREFIX): os.getxattr(path, name).decode("ascii") for name in names}
    except OSError as exc:
        if exc.errno in _UNSUPPORTED:
            return {}
        raise


def _read_sidecar(path: Path) -> dict[str, str]:
    try:
        metadata: dict[str, str] = json.loads(_sidecar(path).read_bytes())
    except FileNotFoundError:
        return {}
    return metadata


def _sidecar(path: Path) -> Path:
    return path.with_name(f".{path.name}.meta")
