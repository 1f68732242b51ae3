"""multipart/related, as DICOMweb sends it (RFC 2387, PS3.18 8.6.1.2)."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from services.common.ports import Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part on its way out; `location` is its Content-Location."""

    content_type: str
    chunks: Iterable[Buffer]
    location: str


def new_boundary() -> str:
    """A line that no part holds."""
    return f"gantry-{secrets.token_hex(16)}"


def media_type(content: str, boundary: str) -> str:
    """The Content-Type of a response whose parts are `content`."""
    return f'multipart/related; type="{content}"; boundary={boundary}'


def encode(parts: Iterable[Part], boundary: str) -> Generator[Buffer, None, None]:
    """The body, piece by piece."""
    for part in parts:
        head = (
            f"--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Location: {part.location}\r\n\r\n"
        )
        yield head.encode("ascii")
        yield from part.chunks
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")
