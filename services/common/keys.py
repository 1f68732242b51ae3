"""How the objects in the store are named: time-ordered, and with nothing in a name that came from outside.

A time-ordered key is ``<area>/YYYY/MM/DD/HH/<32 hex digits of a UUIDv7><suffix>`` in UTC (RFC 9562 5.7).
The folders and the UUID tell the same millisecond, so that keys sort as text as their ordinals do.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum


class Area(StrEnum):
    """The first part of a key: what kind of object it names."""

    ORIGINALS = "originals"
    RENDITIONS = "renditions"
    JOURNAL = "journal"
    QUARANTINE = "quarantine"
    CONFIG = "config"
    METADATA = "metadata"
    """What the S3 adapter notes beside large objects; nobody else's key begins so."""


NODES_KEY = f"{Area.CONFIG}/nodes.json"

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*")
_TIMED = re.compile(r"[a-z]+/\d{4}(?:/\d\d){3}/([0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15})\.[a-z0-9.]+")
_ENTRY_ID = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_BITS = 74
_RACE_MS = 1000


class _Ordinals:
    """UUIDs version 7, each greater than the one before in this process.

    Within a millisecond the 74 random bits grow by a random step.  A time less than a second before the
    last one counts as the last one, for threads read the clock in one order and come here in another; a
    clock that was set back further is followed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._random = 0

    def next(self, when: datetime) -> uuid.UUID:
        milliseconds = (when - _EPOCH) // _MILLISECOND
        with self._lock:
            if 0 <= self._milliseconds - milliseconds < _RACE_MS:
                self._random += 1 + secrets.randbits(32)
            else:
                self._milliseconds = milliseconds
                self._random = secrets.randbits(_RANDOM_BITS - 1)
            milliseconds, random = self._milliseconds, self._random
        high, low = random >> 62, random & (1 << 62) - 1
        return uuid.UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


_ordinals = _Ordinals()
# A child must neither repeat its parent's next UUID nor inherit a lock that another thread held.
os.register_at_fork(after_in_child=_ordinals.__init__)  # type: ignore[misc]


def is_key(text: str) -> bool:
    """Whether `text` can name an object: parts of letters, digits and ``._-``, up to 200 of them each.

    No part begins with a dot, and the first is not that of `Area.METADATA`.
    """
    return _KEY.fullmatch(text) is not None and len(text) <= 900 and not text.startswith(f"{Area.METADATA}/")


def checked(key: str) -> str:
    """The key itself, if it is one.

    Raises:
        ValueError: it is none (`is_key`).
    """
    if not is_key(key):
        raise ValueError(f"{key!r} is no key of an object")
    return key


def timed_key(area: Area, when: datetime, suffix: str) -> str:
    """A new key for something of `area` that came about at `when`, such as ``.json`` at its end."""
    ordinal = _ordinals.next(when)
    return f"{hour_prefix(_time_of(ordinal), area)}{ordinal.hex}{suffix}"


def new_key(received_at: datetime) -> str:
    """A new key for an original whose first byte came at `received_at`."""
    return timed_key(Area.ORIGINALS, received_at, ".dcm")


def is_timed(key: str) -> bool:
    """Whether the key is a time-ordered one, so that `ordinal` and `received_at` can read it."""
    return _TIMED.fullmatch(key) is not None


def ordinal(key: str) -> uuid.UUID:
    """The UUIDv7 in a time-ordered key: the greater one came later.

    Raises:
        ValueError: the key is not a time-ordered one.
    """
    match = _TIMED.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is no time-ordered key")
    return uuid.UUID(hex=match[1])


def received_at(key: str) -> datetime:
    """The moment in a time-ordered key, in UTC and to the millisecond.

    Raises:
        ValueError: the key is not a time-ordered one.
    """
    return _time_of(ordinal(key))


def hour_prefix(when: datetime, area: Area = Area.ORIGINALS) -> str:
    """What every key of that hour begins with."""
    return f"{area}/{when.astimezone(UTC):%Y/%m/%d/%H}/"


def day_prefix(day: date, area: Area = Area.ORIGINALS) -> str:
    """What every key of that day (UTC) begins with."""
    return f"{area}/{day:%Y/%m/%d}/"


def day_prefixes(first: date, last: date, area: Area = Area.ORIGINALS) -> Iterator[str]:
    """The prefixes of all days from `first` to `last`, both included."""
    for days in range((last - first).days + 1):
        yield day_prefix(first + timedelta(days=days), area)


def before(when: datetime, area: Area = Area.ORIGINALS) -> str:
    """A text that sorts before every key made at `when` or later and after every earlier one."""
    return f"{hour_prefix(when, area)}{(when - _EPOCH) // _MILLISECOND:012x}"


def new_entry_id(held_at: datetime) -> str:
    """A new, time-ordered name for an entry in the quarantine: 32 hex digits."""
    return _ordinals.next(held_at).hex


def is_entry_id(text: str) -> bool:
    """Whether `text` has the form of a name that `new_entry_id` gave."""
    return _ENTRY_ID.fullmatch(text) is not None


def entry_key(entry_id: str) -> str:
    """Where an entry of the quarantine lies."""
    return f"{Area.QUARANTINE}/{entry_id}.json"


def held_bytes_key(entry_id: str) -> str:
    """Where the bytes of an entry of the quarantine lie."""
    return f"{Area.QUARANTINE}/{entry_id}.bin"


def held_digest_key(digest: str) -> str:
    """Where the quarantine notes which entry holds the bytes with that SHA-256; behind every entry's key."""
    return f"{Area.QUARANTINE}/known/{digest}"


def _time_of(ordinal: uuid.UUID) -> datetime:
    return _EPOCH + (ordinal.int >> 80) * _MILLISECOND
