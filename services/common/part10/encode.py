"""Elements to bytes (PS3.5 7.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from services.common.part10.encoding import FRAGMENT_VRS, SHORT_VRS

_PADDED_WITH_NUL = FRAGMENT_VRS | {"SQ", "SV", "UI", "UN", "UV"}
_LONGEST_SHORT = 0xFFFE


def encode_elements(
    elements: Iterable[tuple[int, str, bytes]], *, explicit: bool, little: bool = True
) -> bytes:
    """Elements (tag as ``0xGGGGEEEE``, VR, value) one after the other, in the order given, of defined length.

    Values of odd length are padded as PS3.5 6.2 says.  What a short VR cannot hold in explicit VR becomes UN
    (PS3.5 6.2.2).  Values are taken as they are: their byte order is the caller's.
    """
    order = "<" if little else ">"
    parts: list[bytes] = []
    for tag, vr, value in elements:
        length = len(value) + len(value) % 2
        if not explicit:
            head = struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, length)
        elif vr in SHORT_VRS and length <= _LONGEST_SHORT:
            head = struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
        else:
            code = b"UN" if vr in SHORT_VRS else vr.encode("ascii")
            head = struct.pack(order + "HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)
        parts += (head, value)
        if len(value) % 2:
            parts.append(b"\0" if vr in _PADDED_WITH_NUL else b" ")
    return b"".join(parts)
