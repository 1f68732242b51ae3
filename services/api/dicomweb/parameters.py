"""Values in paths and query strings that are read the same way everywhere."""

from __future__ import annotations

import re

from services.common.errors import InvalidQuery

_UID = re.compile(r"[0-9.]{1,64}")
_MOST_DIGITS = 10


def uid(name: str, text: str) -> str:
    """One UID: 1 to 64 digits and dots (PS3.5 9.1).

    Raises:
        InvalidQuery: it is none, or a list, or a wildcard.
    """
    if not _UID.fullmatch(text):
        raise InvalidQuery(f"{name} is no UID")
    return text


def whole_number(name: str, text: str, *, least: int = 0) -> int:
    """A decimal number of up to ten digits.

    Raises:
        InvalidQuery: it is none, or less than `least`.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) >= least):
        raise InvalidQuery(f"{name} is a whole number from {least}")
    return int(text)
