"""From a key as text to a condition, a function per rule of PS3.4 C.2.2.2; pure.

Text is Unicode already.  None stands for universal matching (PS3.4 C.2.2.2.3).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from services.common.attributes import Attribute, Matching
from services.common.errors import InvalidQuery
from services.common.query import Alternative, AnyOf, Between, Condition, Equals, Like, NameLike, OneOf

WILDCARD_VRS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
"""The VRs in whose keys ``*`` and ``?`` are wildcards (PS3.4 C.2.2.2.4)."""

NAME_BREAK = re.compile(r"[\s^=\\,]+")
"""What stands between the words of a name."""

_KANA_VOICING = "\u3099\u309a"
_UID = re.compile(r"[0-9.]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_DATE = re.compile(r"[0-9]{4}(\.?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(
    r"(?:[01][0-9]|2[0-3])(?:(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"
    r"|:[0-5][0-9](?::(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)"
)
_EARLIEST, _LATEST = "000000000000", "235960999999"


def fold(name: str) -> str:
    """A person name as it is compared: without case, accents, needless spaces and empty trailing components.

    Compatibility forms are resolved, so half-width and full-width letters are one.  The component groups
    stay, joined by ``=`` (PS3.5 6.2.1), and so do wildcards and the backslash between several names.
    """
    text = "".join(
        character
        for character in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
        if not unicodedata.combining(character) or character in _KANA_VOICING
    )
    return "\\".join(_fold_groups(value) for value in unicodedata.normalize("NFC", text).split("\\"))


def _fold_groups(name: str) -> str:
    groups = [
        "^".join(" ".join(component.split()) for component in group.split("^")).rstrip("^")
        for group in name.replace("\0", "").split("=")
    ]
    return "=".join(groups).rstrip("=")


def trigrams(folded: str) -> list[str]:
    """Every run of three characters in `folded`, once each, in order of code points."""
    return sorted({folded[start : start + 3] for start in range(len(folded) - 2)})


def time_digits(value: str) -> str:
    """A stored time as the twelve digits HHMMSSFFFFFF that ranges compare; what is not said is zero."""
    return value.replace(":", "").replace(".", "").ljust(12, "0")[:12]


def condition(attribute: Attribute, key: str, *, fuzzy: bool = False) -> Condition | None:
    """What `key` asks of `attribute`, or None where everything matches.

    Several values are alternatives (PS3.4 C.2.2.2.7).  `fuzzy` matches a person name by the
    beginnings of its words (PS3.18 8.3.4.2).

    Raises:
        InvalidQuery: the key is not a value, list, range or pattern of its VR; names the tag.
    """
    storable = key.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    values = [text for value in storable.split("\\") if (text := value.strip())]
    if not all(value.strip("*") for value in values) or attribute.matching is Matching.COUNT:
        return None
    if fuzzy and attribute.matching is Matching.NAME:
        return fuzzy_name_condition(attribute, values)
    return _RULES[attribute.matching](attribute, values) if values else None


def uid_condition(attribute: Attribute, values: Sequence[str]) -> Condition:
    """UIDs, one or several.  PS3.4 C.2.2.2.2 List of UID Matching."""
    for value in values:
        if not _UID.fullmatch(value):
            raise _broken(attribute, "is no UID or list of UIDs")
    return _one_of(attribute, values)


def text_condition(attribute: Attribute, values: Sequence[str]) -> Condition:
    """Text, matched with case.  PS3.4 C.2.2.2.1 Single Value and C.2.2.2.4 Wild Card Matching."""
    if attribute.vr not in WILDCARD_VRS or not any(map(_has_wildcard, values)):
        return _one_of(attribute, values)
    return _any_of(
        attribute,
        [
            Like(attribute=attribute, pattern=value)
            if _has_wildcard(value)
            else Equals(attribute=attribute, value=value)
            for value in values
        ],
    )


def name_condition(attribute: Attribute, values: Sequence[str]) -> Condition | None:
    """A person name, without regard to case and accents (PS3.4 C.2.2.2.1 leaves both to the archive).

    Single value matching is of the whole name: ``DOE^JOHN`` finds ``Doe^John`` and ``DOE^JOHN^^^`` but
    neither ``Doe^John^M`` nor ``Doe^Johnny``; ``DOE^JOHN*`` finds all four.  A key without ``=`` may meet
    any component group; one with it meets group by group, an empty group meeting all.
    """
    patterns = [fold(value) for value in values]
    if not all(pattern.strip("*=") for pattern in patterns):
        return None
    return _any_of(attribute, [NameLike(attribute=attribute, pattern=pattern) for pattern in patterns])


def fuzzy_name_condition(attribute: Attribute, values: Sequence[str]) -> Condition | None:
    """Every word of the key begins a word of the name, in any order and in any component."""
    words = [word.strip("*") for value in values for word in NAME_BREAK.split(fold(value))]
    pattern = " ".join(word for word in words if word)
    return NameLike(attribute=attribute, pattern=pattern, words=True) if pattern else None


def date_condition(attribute: Attribute, values: Sequence[str]) -> Condition | None:
    """A date or a range of dates such as ``20240101-``, ``YYYY.MM.DD`` of ACR-NEMA included.

    PS3.4 C.2.2.2.5.1 Range Matching: either side may be empty, both ends are included.
    """
    bounds = _bounds(attribute, values, _DATE, "is no date or range of dates")
    if len(bounds) == 1:
        return Equals(attribute=attribute, value=bounds[0])
    return _between(attribute, bounds[0], bounds[1])


def time_condition(attribute: Attribute, values: Sequence[str]) -> Condition | None:
    """A time or a range of times such as ``-1200``, as twelve digits HHMMSSFFFFFF.

    PS3.4 C.2.2.2.5.2: both ends are included, and a time that is not precise stands for all of its
    hour, minute or second: ``10`` is 10:00:00 to 10:59:60.999999 (PS3.5 6.2, TM).
    """
    bounds = _bounds(attribute, values, _TIME, "is no time or range of times")
    low, high = bounds[0], bounds[-1]
    return _between(attribute, low and low + _EARLIEST[len(low) :], high and high + _LATEST[len(high) :])


def number_condition(attribute: Attribute, values: Sequence[str]) -> Condition:
    """Integers, one or several.  PS3.4 C.2.2.2.1 Single Value Matching."""
    for value in values:
        if not _INTEGER.fullmatch(value):
            raise _broken(attribute, "is no integer")
    return _one_of(attribute, [str(int(value)) for value in values])


def set_condition(attribute: Attribute, values: Sequence[str]) -> Condition:
    """An attribute that gathers values below: one of them matches (PS3.4 C.6.2.1, Modalities in Study)."""
    return (uid_condition if attribute.vr == "UI" else text_condition)(attribute, values)


_RULES: Mapping[Matching, Callable[[Attribute, Sequence[str]], Condition | None]] = {
    Matching.UID: uid_condition,
    Matching.TEXT: text_condition,
    Matching.NAME: name_condition,
    Matching.DATE: date_condition,
    Matching.TIME: time_condition,
    Matching.NUMBER: number_condition,
    Matching.SET: set_condition,
}


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _one_of(attribute: Attribute, values: Sequence[str]) -> Condition:
    if len(values) == 1:
        return Equals(attribute=attribute, value=values[0])
    return OneOf(attribute=attribute, values=tuple(dict.fromkeys(values)))


def _any_of(attribute: Attribute, alternatives: Sequence[Alternative]) -> Condition:
    if len(alternatives) == 1:
        return alternatives[0]
    return AnyOf(attribute=attribute, alternatives=tuple(alternatives))


def _bounds(attribute: Attribute, values: Sequence[str], form: re.Pattern[str], complaint: str) -> list[str]:
    """The one or two ends of a range, punctuation taken out; an open end is empty."""
    ends = [end.strip() for end in values[0].split("-")]
    if len(values) > 1 or len(ends) > 2 or not all(form.fullmatch(end) for end in ends if end):
        raise _broken(attribute, complaint)
    return [end.replace(".", "").replace(":", "") for end in ends]


def _between(attribute: Attribute, low: str, high: str) -> Condition | None:
    return Between(attribute=attribute, low=low, high=high) if low or high else None


def _broken(attribute: Attribute, complaint: str) -> InvalidQuery:
    return InvalidQuery(f"{attribute.keyword} {complaint}", tag=attribute.tag)
