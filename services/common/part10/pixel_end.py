"""Whether a data set on its way out ends inside its Pixel Data, told from what is in memory of it anyway."""

from __future__ import annotations

from typing import Literal

from services.common.errors import InvalidInstance
from services.common.part10.encoding import (
    FRAGMENT_VRS,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    announced_by,
    is_deflated,
)
from services.common.part10.header import Header
from services.common.part10.scanner import Buffer, HeaderScanner

_LOOKED_AT = 64 * 1024
_VRS = frozenset(vr.encode() for vr in FRAGMENT_VRS | {"UN"})

_Order = Literal["little", "big"]


def is_cut_short(beginning: Buffer, transfer_syntax_uid: str, total: int) -> bool:
    """Whether a data set of `total` bytes that has this `beginning` ends before its Pixel Data does.

    A header is walked over only where a length in the first 64 KiB looks like it.  False where the beginning
    does not tell: Pixel Data begins behind it, is in fragments that are not all in it, or all is deflated.
    """
    if is_deflated(transfer_syntax_uid):
        return False
    order: _Order = "little" if announced_by(transfer_syntax_uid).little else "big"
    head, tag = bytes(beginning[:_LOOKED_AT]), _tag(PIXEL_DATA, order)
    at = head.find(tag)
    while at >= 0:
        size = 12 if head[at + 4 : at + 6] in _VRS else 8
        length = int.from_bytes(head[at + size - 4 : at + size], order)
        if length == UNDEFINED:
            is_delimited = bytes(beginning[-8:]) == _tag(SEQUENCE_END, order) + bytes(4)
            is_suspect = len(beginning) == total and not is_delimited
        elif at + size + length == total:
            return False
        else:
            is_suspect = at + size + length > total
        if is_suspect:
            return _is_cut_short(beginning, transfer_syntax_uid, total)
        at = head.find(tag, at + 1)
    return False


def _tag(tag: int, order: _Order) -> bytes:
    return (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)


def _is_cut_short(beginning: Buffer, transfer_syntax_uid: str, total: int) -> bool:
    scanner = HeaderScanner(transfer_syntax_uid)
    try:
        scanner.feed(beginning)
        pixels = Header(scanner.finish(), transfer_syntax_uid).pixel_data()
    except InvalidInstance:
        return False
    if pixels is None:
        return False
    if pixels.fragments is None:
        return pixels.end > total
    return len(beginning) == total and not pixels.is_whole
