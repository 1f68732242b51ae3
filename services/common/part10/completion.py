"""The rest of a header whose capture stopped early, read by range."""

from __future__ import annotations

from collections.abc import Callable

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10.scanner import HeaderScanner

COMPLETE_LIMIT = 16 * 1024 * 1024
"""Bytes of header that `complete` keeps, at most."""

_SMALLEST_READ = 64 * 1024
_LARGEST_READ = 1024 * 1024


def complete(
    captured: CapturedHeader,
    transfer_syntax_uid: str,
    read: Callable[[int, int], bytes],
    total: int,
    *,
    limit: int = COMPLETE_LIMIT,
) -> CapturedHeader:
    """The whole header of a data set of `total` bytes whose capture stopped early.

    `read(offset, length)` gives bytes of the data set, some at least; values that are left out are not read.
    `covers` of the result equals `total`, unless the header were longer than `limit` bytes.

    Raises:
        InvalidInstance: what follows the captured part cannot be read.
    """
    if captured.covers >= total:
        return captured
    scanner = HeaderScanner(transfer_syntax_uid, limit=limit)
    if captured.covers:
        scanner.resume(captured)
    offset: int | None = captured.covers
    size = _SMALLEST_READ
    while offset is not None and offset < total:
        data = read(offset, min(size, total - offset))
        if not data:
            raise InvalidInstance(f"the data set ends at byte {offset} and not at {total}")
        scanner.feed(data)
        expected = offset + len(data)
        offset = scanner.jump(total)
        size = min(2 * size, _LARGEST_READ) if offset == expected else _SMALLEST_READ
    return scanner.finish()
