"""From a query to SQL: the only code that builds any.

Identifiers come from `services.common.attributes` and from the constants here; every value is a
parameter.  What has no live instance below it is never shown.  Conditions on levels above are answered
by joins and those on levels below by one EXISTS, so that they speak of the same series or instance:
relational queries (PS3.4 C.4.1.2.2.1) are always allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.common.attributes import ATTRIBUTES, Attribute, Matching
from services.common.catalog.conditions import Parameters, condition_sql
from services.common.model import Level
from services.common.query import Condition, Query, Selection

Position = tuple[object, ...]
"""Where a page ended: the values of its last row in the columns that order it."""

_TABLES = {
    Level.PATIENT: "patient p",
    Level.STUDY: "study s",
    Level.SERIES: "series r",
    Level.IMAGE: "instance i",
}
_ALIASES = {Level.PATIENT: "p", Level.STUDY: "s", Level.SERIES: "r", Level.IMAGE: "i"}
_PARENT = {Level.STUDY: "s.patient = p.id", Level.SERIES: "r.study = s.id", Level.IMAGE: "i.series = r.id"}
_SHOWN = {
    Level.STUDY: "s.number_of_instances > 0",
    Level.SERIES: "r.number_of_instances > 0",
    Level.IMAGE: "i.deleted_at IS NULL",
}
_LAST = 2**63 - 1
_SERIES_ORDER = f"coalesce(r.series_order, {_LAST})"
_INSTANCE_ORDER = f"coalesce(i.instance_order, {_LAST})"
_ORDER = {
    Level.PATIENT: ("p.id",),
    Level.STUDY: ("s.id",),
    Level.SERIES: ("s.id", _SERIES_ORDER, "r.id"),
    Level.IMAGE: ("s.id", _SERIES_ORDER, "r.id", _INSTANCE_ORDER, "i.id"),
}
_NEWEST_FIRST = ("s.study_date", "s.study_time", "s.id")

_PATIENT_COUNTS = """LEFT JOIN LATERAL (
  SELECT count(*) AS number_of_studies, sum(number_of_series) AS number_of_series,
         sum(number_of_instances) AS number_of_instances
    FROM study WHERE patient = page.patient AND number_of_instances > 0) c ON true"""

_HEADER = "header", "header_form", "header_version", "header_covers", "transfer_syntax_uid"
_HEADER_FROM = {
    Level.PATIENT: """LEFT JOIN LATERAL (SELECT id FROM study
  WHERE patient = page.entity AND number_of_instances > 0 ORDER BY id LIMIT 1) hs ON true""",
    Level.STUDY: """LEFT JOIN LATERAL (SELECT id FROM series
  WHERE study = {study} AND number_of_instances > 0 ORDER BY id LIMIT 1) hr ON true""",
    Level.SERIES: """LEFT JOIN LATERAL (SELECT * FROM instance
  WHERE series = {series} AND deleted_at IS NULL ORDER BY instance_order, id LIMIT 1) h ON true""",
}

SERIES_DICTIONARIES = "SELECT id, header_dictionary FROM series WHERE id = ANY(%s)"
"""Takes series row ids; gives what the headers of their instances are compressed against."""

LOCATION_COLUMNS = (
    "s.study_instance_uid",
    "r.series_instance_uid",
    "i.sop_instance_uid",
    "i.sop_class_uid",
    "i.transfer_syntax_uid",
    "i.bucket",
    "i.key",
    'i."offset"',
    "i.length",
    "i.data_set_offset",
    "i.data_set_digest",
    "i.file_digest",
)

KNOWN_ORIGINALS = """SELECT sop_instance_uid, data_set_digest FROM instance
 WHERE sop_instance_uid = ANY(%(uids)s) AND deleted_at IS NULL
 UNION SELECT o.sop_instance_uid, o.data_set_digest
  FROM other_original o JOIN instance i USING (sop_instance_uid)
 WHERE o.sop_instance_uid = ANY(%(uids)s) AND i.deleted_at IS NULL"""
"""Takes SOP Instance UIDs; gives every version of those instances that live, served or not."""

RENDITIONS = """SELECT n.instance, n.kind, n.transfer_syntax_uid, n.bucket, n.key, n."offset", n.length,
       n.file_length, n.data_set_offset, n.digest, n.recipe, n.refusal,
       n.source_digest, n.source_transfer_syntax_uid
  FROM rendition n JOIN instance i ON i.id = n.instance AND i.data_set_digest = n.source_digest
   AND i.transfer_syntax_uid = n.source_transfer_syntax_uid
 WHERE n.instance = ANY(%s)
 ORDER BY n.instance, n.kind"""
"""Takes instance row ids; gives the renditions of the bytes that are served now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """SQL with ``%s`` for each of `parameters`."""

    sql: str
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A statement whose rows are `keys` ordering values, then a value per attribute, then the rest.

    With `headers` the rest is header, form, version, covers, transfer syntax and series row id.
    """

    statement: Statement
    keys: int
    attributes: tuple[Attribute, ...] = ()
    headers: bool = False


@dataclass(slots=True)
class _Select:
    """The parts that every statement at one level shares: FROM and WHERE."""

    level: Level
    conditions: Sequence[Condition]
    parameters: list[object] = field(default_factory=list)

    def source(self) -> str:
        """FROM the level's own table and those above it, which carry what is asked and returned."""
        joins = [f"FROM {_TABLES[self.level]}"]
        for level in range(self.level, Level.STUDY, -1):
            joins.append(f"JOIN {_TABLES[Level(level - 1)]} ON {_PARENT[Level(level)]}")
        return " ".join(joins)

    def where(self) -> list[str]:
        """The conditions on the level and those above, and one EXISTS for those below."""
        own = [c for c in self.conditions if c.attribute.level <= self.level]
        below = [c for c in self.conditions if c.attribute.level > self.level]
        parts = [_SHOWN[level] for level in _SHOWN if level <= self.level]
        parts += [self._sql(condition) for condition in own]
        if below or self.level is Level.PATIENT:
            deepest = max((c.attribute.level for c in below), default=Level.STUDY)
            parts.append(self._exists(Level(self.level + 1), deepest, below))
        return parts

    def _exists(self, first: Level, last: Level, conditions: Sequence[Condition]) -> str:
        levels = [Level(level) for level in range(first, last + 1)]
        joins = "".join(f" JOIN {_TABLES[level]} ON {_PARENT[level]}" for level in levels[1:])
        parts = [_PARENT[first], *(_SHOWN[level] for level in levels), *map(self._sql, conditions)]
        return f"EXISTS (SELECT FROM {_TABLES[first]}{joins} WHERE {' AND '.join(parts)})"

    def _sql(self, condition: Condition) -> str:
        return condition_sql(condition, self.alias(condition.attribute), self.parameters)

    def alias(self, attribute: Attribute) -> str:
        """The table that has the attribute: a study carries its own copy of its patient's values."""
        if attribute.level is Level.PATIENT and self.level > Level.PATIENT:
            return "s"
        return _ALIASES[attribute.level]


def count(query: Query) -> Statement:
    """How many entities meet the conditions; one row of one number."""
    select = _Select(query.level, query.conditions)
    where = " AND ".join(select.where())
    return Statement(sql=f"SELECT count(*) {select.source()} WHERE {where}", parameters=select.parameters)


def page(query: Query, *, after: Position | None, size: int) -> Page:
    """The next `size` matches behind `after`; the first page skips `query.offset` matches."""
    select = _Select(query.level, query.conditions)
    newest = query.newest_first and query.level is Level.STUDY
    order = _NEWEST_FIRST if newest else _ORDER[query.level]
    counted = query.patient_counts or query.level is Level.PATIENT
    attributes = tuple(
        a for a in ATTRIBUTES if a.level <= query.level and (counted or not _is_patient_count(a))
    )
    columns = [f"{_ALIASES[query.level]}.id AS entity"]
    columns.append(f"{'p.id' if query.level is Level.PATIENT else 's.patient'} AS patient")
    columns += [f"{column} AS k{n}" for n, column in enumerate(order)]
    columns += [
        f"{select.alias(a)}.{a.column} AS a{n}" for n, a in enumerate(attributes) if not _is_patient_count(a)
    ]
    if query.headers and query.level is Level.IMAGE:
        columns += [f"i.{name}" for name in _HEADER] + ["r.id AS series"]
    where = select.where()
    if after is not None:
        where.append(_behind(order, after, newest, select.parameters))
    suffix = " DESC NULLS LAST" if newest else ""
    select.parameters += [size, query.offset if after is None else 0]
    inner = (
        f"SELECT {', '.join(columns)} {select.source()} WHERE {' AND '.join(where)}"
        f" ORDER BY {', '.join(column + suffix for column in order)} LIMIT %s OFFSET %s"
    )
    outer = [f"page.k{n}" for n in range(len(order))]
    outer += [f"c.{a.column}" if _is_patient_count(a) else f"page.a{n}" for n, a in enumerate(attributes)]
    joins = [_PATIENT_COUNTS] if counted else []
    if query.headers:
        outer += _header_columns(query.level)
        joins += _header_joins(query.level)
    sql = (
        f"SELECT {', '.join(outer)} FROM ({inner}) page {' '.join(joins)}"
        f" ORDER BY {', '.join(f'page.k{n}{suffix}' for n in range(len(order)))}"
    )
    return Page(
        statement=Statement(sql=sql, parameters=select.parameters),
        keys=len(order),
        attributes=attributes,
        headers=query.headers,
    )


def location_page(selection: Selection, *, after: Position | None, size: int) -> Page:
    """The next `size` instances behind `after`: ordering values, `LOCATION_COLUMNS`, perhaps headers."""
    select = _Select(Level.IMAGE, selection.conditions)
    order = _ORDER[Level.IMAGE]
    where = select.where()
    if after is not None:
        where.append(_behind(order, after, False, select.parameters))
    headers = [*(f"i.{name}" for name in _HEADER), "r.id"] if selection.headers else []
    select.parameters.append(size)
    sql = (
        f"SELECT {', '.join([*order, *LOCATION_COLUMNS, *headers])} {select.source()}"
        f" WHERE {' AND '.join(where)} ORDER BY {', '.join(order)} LIMIT %s"
    )
    statement = Statement(sql=sql, parameters=select.parameters)
    return Page(statement=statement, keys=len(order), headers=selection.headers)


def _is_patient_count(attribute: Attribute) -> bool:
    return attribute.level is Level.PATIENT and attribute.matching is Matching.COUNT


def _header_columns(level: Level) -> list[str]:
    if level is Level.IMAGE:
        return [f"page.{name}" for name in (*_HEADER, "series")]
    return [f"h.{name}" for name in (*_HEADER, "series")]


def _header_joins(level: Level) -> list[str]:
    """From the entity down to one instance: the first study, its first series, its first instance."""
    study = "hs.id" if level is Level.PATIENT else "page.entity"
    series = "page.entity" if level is Level.SERIES else "hr.id"
    return [text.format(study=study, series=series) for above, text in _HEADER_FROM.items() if above >= level]


def _behind(order: Sequence[str], after: Position, descending: bool, parameters: list[object]) -> str:
    """Rows that come after the position; the first column stands alone too, for the index to begin at."""
    if not descending:
        parameters += [after[0], *after]
        places = ", ".join(["%s"] * len(order))
        return f"{order[0]} >= %s AND ({', '.join(order)}) > ({places})"
    return _behind_newest(order, after, parameters)


def _behind_newest(order: Sequence[str], after: Position, parameters: list[object]) -> str:
    """Lexicographic order, each column descending and NULL last."""
    column, value = order[0], after[0]
    rest = len(order) > 1
    if value is None:
        return f"{column} IS NULL AND {_behind_newest(order[1:], after[1:], parameters)}"
    parameters.append(value)
    if not rest:
        return f"{column} < %s"
    parameters.append(value)
    deeper = _behind_newest(order[1:], after[1:], parameters)
    return f"({column} < %s OR {column} IS NULL OR ({column} = %s AND {deeper}))"
