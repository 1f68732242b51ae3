"""DICOM values as people read them; a value that is not as its VR says is shown as it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2}))?")


def person(name: str) -> str:
    """A person name as ``Family, Given Middle``; ideographic and phonetic groups behind it (PS3.5 6.2.1)."""
    groups = [_group(group) for group in name.split("\\")[0].split("=")]
    first, *others = [group for group in groups if group] or [""]
    return f"{first} ({', '.join(others)})" if others else first


def _group(group: str) -> str:
    family, given, middle, prefix, suffix = ([*map(str.strip, group.split("^")), *[""] * 5])[:5]
    rest = " ".join(part for part in (prefix, given, middle, suffix) if part)
    return f"{family}, {rest}" if family and rest else family or rest


def day(value: str) -> str:
    """A date ``YYYYMMDD`` as ``YYYY-MM-DD``."""
    found = _DATE.fullmatch(value)
    return "-".join(found.groups()) if found else value


def clock(value: str) -> str:
    """A time ``HHMMSS.FFFFFF`` as ``HH:MM``."""
    found = _TIME.match(value)
    return f"{found[1]}:{found[2]}" if found else value


def moment(value: datetime) -> str:
    """A moment to the second, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(value: datetime) -> str:
    """A moment for machines (RFC 3339)."""
    return value.astimezone(UTC).isoformat(timespec="seconds")


def uid_name(uid: str) -> str:
    """What the standard calls a UID, or the UID."""
    return UID(uid).name


def tag_name(tag: int | None) -> str:
    """A tag as ``(GGGG,EEEE) Keyword``."""
    if tag is None:
        return ""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_for_tag(tag)}".rstrip()


def count_of(number: int, singular: str, plural: str = "") -> str:
    """A count with its noun, such as ``1 image`` and ``2 images``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
