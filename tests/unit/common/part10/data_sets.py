"""Data sets to read, put together byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from services.common.model import CapturedHeader
from services.common.part10 import Header, HeaderScanner

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
UNDEFINED = 0xFFFFFFFF
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


class Writer:
    """Writes elements of one transfer syntax."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.explicit = transfer_syntax_uid != IMPLICIT
        self.order = ">" if transfer_syntax_uid == BIG_ENDIAN else "<"

    def tag(self, tag: int) -> bytes:
        return struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)

    def length(self, length: int) -> bytes:
        return struct.pack(self.order + "L", length)

    def element(self, tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
        """An element; `length` is what it claims."""
        claimed = len(value) if length is None else length
        if not self.explicit:
            return self.tag(tag) + self.length(claimed) + value
        if vr in LONG_VRS:
            return self.tag(tag) + vr.encode() + b"\0\0" + self.length(claimed) + value
        return self.tag(tag) + vr.encode() + struct.pack(self.order + "H", claimed) + value

    def item(self, content: bytes, *, undefined: bool = False) -> bytes:
        if undefined:
            return self.tag(0xFFFEE000) + self.length(UNDEFINED) + content + self.tag(0xFFFEE00D) + bytes(4)
        return self.tag(0xFFFEE000) + self.length(len(content)) + content

    def sequence(self, tag: int, items: Iterable[bytes], *, undefined: bool = False, vr: str = "SQ") -> bytes:
        """A sequence of items that `item` wrote."""
        content = b"".join(items)
        if undefined:
            return self.element(tag, vr, content, length=UNDEFINED) + self.end()
        return self.element(tag, vr, content)

    def end(self) -> bytes:
        return self.tag(0xFFFEE0DD) + bytes(4)

    def fragments(self, *fragments: bytes) -> bytes:
        """Encapsulated Pixel Data; the first fragment is the offset table."""
        return self.sequence(0x7FE00010, [self.item(f) for f in fragments], undefined=True, vr="OB")


def uids(writer: Writer) -> bytes:
    """The four UIDs that place an instance."""
    return b"".join(
        writer.element(tag, "UI", value)
        for tag, value in (
            (0x00080016, b"1.2.840.10008.5.1.4.1.1.7\0"),
            (0x00080018, b"1.2.3\0"),
            (0x0020000D, b"1.2.4\0"),
            (0x0020000E, b"1.2.5\0"),
        )
    )


def scan(data: bytes, transfer_syntax_uid: str = EXPLICIT, *, limit: int = 64 * 1024) -> CapturedHeader:
    """The captured header of a data set fed at once."""
    scanner = HeaderScanner(transfer_syntax_uid, limit=limit)
    scanner.feed(data)
    return scanner.finish()


def header(data: bytes, transfer_syntax_uid: str = EXPLICIT) -> Header:
    return Header(scan(data, transfer_syntax_uid), transfer_syntax_uid)
