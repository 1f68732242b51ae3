"""From one condition to SQL: a visitor over the kinds of `services.common.query`."""

from __future__ import annotations

import re

from services.common.attributes import Attribute, Matching
from services.common.catalog import columns
from services.common.matching import NAME_BREAK, trigrams
from services.common.query import AnyOf, Between, Condition, Equals, Like, NameLike, OneOf

Parameters = list[object]

_DIGITS = "rpad(replace(replace({column}, ':', ''), '.', ''), 12, '0')"
_GROUP_MATCHES = (
    r"EXISTS (SELECT FROM unnest(string_to_array(translate({column}, '\', '='), '=')) AS part"
    " WHERE part LIKE ANY(%s))"
)
_WORD_BEGINS = (
    rf"EXISTS (SELECT FROM regexp_split_to_table({{column}}, '{NAME_BREAK.pattern}') AS word"
    " WHERE word LIKE %s)"
)
_WILDCARDS = re.compile(r"[*?]")


def condition_sql(condition: Condition, alias: str, parameters: Parameters) -> str:
    """A boolean expression over the columns of the table `alias`; its values join `parameters`."""
    attribute = condition.attribute
    column = f"{alias}.{attribute.match_column or attribute.column}"
    match condition:
        case AnyOf(alternatives=alternatives):
            return f"({' OR '.join(condition_sql(c, alias, parameters) for c in alternatives)})"
        case Equals(value=value) if attribute.matching is Matching.SET:
            parameters.append(value)
            return f"%s = ANY({column})"
        case Equals(value=value):
            parameters.append(_stored(attribute, value))
            return f"{column} = %s"
        case OneOf(values=values) if attribute.matching is Matching.SET:
            parameters.append(list(values))
            return f"{column} && %s"
        case OneOf(values=values):
            parameters.append([_stored(attribute, value) for value in values])
            return f"{column} = ANY(%s)"
        case Like(pattern=pattern) if attribute.matching is Matching.SET:
            parameters.append(like(pattern))
            return f"EXISTS (SELECT FROM unnest({column}) AS element WHERE element LIKE %s)"
        case Like(pattern=pattern):
            parameters.append(like(pattern))
            return f"{column} LIKE %s"
        case Between():
            return _between(condition, column, parameters)
        case NameLike(pattern=pattern, words=True):
            return " AND ".join(_word(attribute, alias, word, parameters) for word in pattern.split())
        case NameLike(pattern=pattern):
            return _name(attribute, alias, pattern, parameters)


def like(pattern: str) -> str:
    """A DICOM pattern as one of LIKE; ``%``, ``_`` and the backslash are themselves."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")


def _stored(attribute: Attribute, value: str) -> str | int:
    """What the column that is matched on holds for the value."""
    is_integer = attribute.matching is Matching.NUMBER and attribute.match_column
    return int(value) if is_integer else columns.value(attribute, value)


def _between(condition: Between, column: str, parameters: Parameters) -> str:
    if condition.attribute.matching is Matching.TIME:
        column = _DIGITS.format(column=column)
    parts = []
    for operator, bound in ((">=", condition.low), ("<=", condition.high)):
        if bound:
            parameters.append(bound)
            parts.append(f"{column} {operator} %s")
    return " AND ".join(parts)


def _name(attribute: Attribute, alias: str, pattern: str, parameters: Parameters) -> str:
    """A whole name: first by what an index can find, then exactly, by component group."""
    column = f"{alias}.{attribute.match_column}"
    groups = pattern.split("=")
    if len(groups) == 1:
        parts = _indexed(attribute, alias, _forms(pattern)[-1], parameters)
        parameters.append([like(form) for form in _forms(pattern)])
        return " AND ".join([*parts, _GROUP_MATCHES.format(column=column)])
    parts = []
    for number, group in enumerate(groups, start=1):
        if group.strip("*"):
            parameters += [number, [like(form) for form in _forms(group)]]
            parts.append(f"split_part({column}, '=', %s) LIKE ANY(%s)")
    return " AND ".join(parts)


def _forms(pattern: str) -> list[str]:
    """The pattern, then without each last component that may be empty, for folding drops empty ones."""
    forms = [pattern]
    while forms[-1].endswith("^*"):
        forms.append(forms[-1][:-2])
    return forms


def _indexed(attribute: Attribute, alias: str, pattern: str, parameters: Parameters) -> list[str]:
    """What the names that match have in common, as far as an index knows of it."""
    column, by_trigrams = f"{alias}.{attribute.match_column}", f"{alias}.{attribute.trigram_column} @> %s"
    runs = _WILDCARDS.split(pattern)
    head = runs[0]
    if head and attribute.trigram_column and len(head) > 1:
        parameters += [like(head) + "%", trigrams("=" + head)]
        return [f"({column} LIKE %s OR {by_trigrams})"]
    if attribute.trigram_column and any(len(run) > 2 for run in runs):
        parameters.append(sorted({trigram for run in runs for trigram in trigrams(run)}))
        return [by_trigrams]
    if head:
        parameters.append("%" + like(head) + "%")
        return [f"{column} LIKE %s"]
    return []


def _word(attribute: Attribute, alias: str, word: str, parameters: Parameters) -> str:
    """Some word of the name begins with `word`."""
    column = f"{alias}.{attribute.match_column}"
    parts = []
    if attribute.trigram_column and (shared := trigrams(word)) and not _WILDCARDS.search(word):
        parameters.append(shared)
        parts.append(f"{alias}.{attribute.trigram_column} @> %s")
    parameters.append(like(word) + "%")
    return " AND ".join([*parts, _WORD_BEGINS.format(column=column)])
