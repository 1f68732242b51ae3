"""The parts of a multipart/related answer (RFC 2046 5.1), by where they lie in the file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def parts(file: Path) -> Iterator[Iterator[bytes]]:
    """The bodies of the parts, one after the other, while the block lasts."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield bodies(data)


def bodies(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """The bodies of the parts; what begins the first line is the boundary."""
    start = data.find(b"--")
    boundary = bytes(data[start : data.find(b"\r\n", start)])
    at = start + len(boundary)
    while data[at : at + 2] == b"\r\n":
        body = data.find(b"\r\n\r\n", at) + 4
        end = data.find(b"\r\n" + boundary, body)
        if end < 0:
            return
        yield bytes(data[body:end])
        at = end + 2 + len(boundary)
