"""Reading the query string of a search (PS3.18 8.3.4); pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword

from services.api.dicomweb.fields import DEFAULT_OTHERS, all_columns, columns_by_default
from services.api.dicomweb.parameters import uid, whole_number
from services.common.attributes import BY_KEYWORD, BY_TAG, Attribute, Matching
from services.common.errors import InvalidQuery
from services.common.matching import condition
from services.common.model import Level
from services.common.query import Condition, Equals, Query

LARGEST_LIMIT = 10_000
"""Matches in one answer, whatever limit the client names; a Warning says where there are more."""

_HEX_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NOT_MATCHED = frozenset(
    (
        "accept",
        "charset",
        "emptyvaluematching",
        "fuzzymatching",
        "includefield",
        "limit",
        "multiplevaluematching",
        "offset",
    )
)
"""The parameters that are no attributes (PS3.18 8.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a query string asks: the query, what to return, and which parameters could not be matched on.

    `columns` are answered by the catalog, the tags in `others` from a header; `everything` is
    ``includefield=all``.
    """

    query: Query
    columns: Sequence[Attribute]
    others: Sequence[int]
    everything: bool
    unsupported: Sequence[str]


def parse(level: Level, path: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Search:
    """Read a query string; `path` holds the UIDs that the URL names.

    Raises:
        InvalidQuery: a value is broken, or a parameter is no attribute.
    """
    conditions: list[Condition] = [
        Equals(attribute=BY_KEYWORD[name], value=uid(name, value)) for name, value in path.items()
    ]
    columns = [BY_KEYWORD[keyword] for keyword in columns_by_default(level, tuple(path))]
    others = list(DEFAULT_OTHERS[level])
    unsupported: list[str] = []
    fuzzy = _last(parameters, "fuzzymatching").lower() == "true"
    for name, value in parameters:
        if name in _NOT_MATCHED:
            continue
        attribute = _matched(name)
        if attribute is None:
            unsupported.append(name)
            continue
        _include(attribute.tag, level, columns, others)
        key = value.replace(",", "\\") if _is_list(attribute) else value
        asked = condition(attribute, key, fuzzy=fuzzy)
        conditions += [] if asked is None else [asked]
    fields = _fields(parameters)
    everything = "all" in fields
    if everything:
        columns += [BY_KEYWORD[keyword] for keyword in all_columns(level)]
    for field in fields:
        if field != "all":
            _include(_tags(field)[0], level, columns, others)
    query = Query(
        level=level,
        conditions=tuple(conditions),
        headers=everything or bool(others),
        limit=min(LARGEST_LIMIT, whole_number("limit", _last(parameters, "limit") or str(LARGEST_LIMIT))),
        offset=whole_number("offset", _last(parameters, "offset") or "0"),
        newest_first=level is Level.STUDY,
    )
    return Search(
        query=query,
        columns=tuple(dict.fromkeys(columns)),
        others=tuple(dict.fromkeys(others)),
        everything=everything,
        unsupported=unsupported,
    )


def _last(parameters: Sequence[tuple[str, str]], name: str) -> str:
    return next((value for key, value in reversed(parameters) if key == name), "")


def _fields(parameters: Sequence[tuple[str, str]]) -> Sequence[str]:
    values = (value for name, value in parameters if name == "includefield")
    return [field.strip() for value in values for field in value.split(",") if field.strip()]


def _include(tag: int, level: Level, columns: list[Attribute], others: list[int]) -> None:
    attribute = BY_TAG.get(tag)
    if attribute is not None and attribute.level <= level:
        columns.append(attribute)
    else:
        others.append(tag)


def _matched(name: str) -> Attribute | None:
    """The attribute to match on; None where it has no column, or is one of a sequence."""
    tags = _tags(name)
    attribute = BY_TAG.get(tags[0]) if len(tags) == 1 else None
    return None if attribute is None or attribute.matching is Matching.COUNT else attribute


def _tags(name: str) -> Sequence[int]:
    """The tags of an attribute, or of one in a sequence: keywords or eight hex digits joined by dots."""
    return [_tag(part) for part in name.split(".")]


def _tag(name: str) -> int:
    if _HEX_TAG.fullmatch(name):
        return int(name, 16)
    tag = tag_for_keyword(name) if name else None  # some retired tags have an empty keyword
    if tag is None:
        raise InvalidQuery(f"{name!r} is neither a keyword nor a tag")
    return tag


def _is_list(attribute: Attribute) -> bool:
    """Whether a comma parts several values: in lists of UIDs, and of modalities (PS3.18 8.3.4.1)."""
    return attribute.matching in (Matching.UID, Matching.SET) or attribute is BY_KEYWORD["Modality"]
