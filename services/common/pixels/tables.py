"""The entries of look-up tables as they lie in data sets: words or bytes, plain or in segments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

MAX_ENTRIES = 65536
_DISCRETE, _LINEAR = 0, 1


def entries(data_set: Dataset, keyword: str, count: int) -> NDArray[Any]:
    """The first `count` entries of a table, one byte to each where the value has too few words for them.

    PS3.3 C.7.6.3.1.6 and C.11.1.1.1.  pydicom leaves the words of an OW value as they lie.

    Raises:
        KeyError: there is no such table.
    """
    value = data_set[keyword].value
    if not isinstance(value, bytes):
        return np.atleast_1d(np.asarray(value, dtype=np.int64))[:count]
    words = np.frombuffer(value[: len(value) // 2 * 2], dtype=">u2" if _is_big(data_set) else "<u2")
    if len(words) >= count:
        return words[:count].astype(np.uint16)
    return words.astype("<u2").view(np.uint8)[:count]


def expanded(data_set: Dataset, keyword: str, count: int, bits: int) -> NDArray[Any]:
    """At most `count` entries of `bits` bits of a segmented table (PS3.3 C.7.9.2).

    Raises:
        KeyError: there is no such table.
        ValueError: a segment is cut short, or indirect: what its offset counts is read in two ways.
    """
    value = data_set[keyword].value
    if not isinstance(value, bytes):
        raise ValueError("a segmented table is no string of words")
    words = np.frombuffer(value[: len(value) // 2 * 2], dtype=">u2" if _is_big(data_set) else "<u2")
    numbers = (words.astype("<u2").view(np.uint8) if bits <= 8 else words).tolist()
    found: list[int] = []
    at = 0
    while len(found) < count and at + 2 < len(numbers):
        code, length = numbers[at : at + 2]
        values = numbers[at + 2 : at + 2 + (length if code == _DISCRETE else 1)]
        if code == _DISCRETE and len(values) == length:
            found += values
        elif code == _LINEAR and found:
            found += np.rint(np.linspace(found[-1], values[0], length + 1)[1:]).astype(np.int64).tolist()
        else:
            raise ValueError("a segment is cut short or indirect")
        at += 2 + len(values)
    return np.array(found[:count], dtype=np.int64)


def _is_big(data_set: Dataset) -> bool:
    return data_set.original_encoding[1] is False
