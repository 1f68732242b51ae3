"""What is asked of the catalog, whoever asks: C-FIND, QIDO-RS, C-MOVE, C-GET, WADO-RS or a page.

A `Query` is a conjunction of conditions on attributes, free of SQL and of DICOM encodings;
`services.common.matching` makes the conditions, `services.common.catalog.compile` makes the SQL.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.common.attributes import Attribute
from services.common.model import CapturedHeader, Level, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Equals:
    """Single value matching (PS3.4 C.2.2.2.1): the values are the same, trailing padding aside."""

    attribute: Attribute
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """List matching (PS3.4 C.2.2.2.2 for UIDs): the value is one of `values`."""

    attribute: Attribute
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """Wildcard matching (PS3.4 C.2.2.2.4): ``*`` is any run of characters, ``?`` any single one."""

    attribute: Attribute
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NameLike:
    """A person name (PS3.4 C.2.2.2.1 and C.2.2.2.4, as `docs/conformance.md` says for case and accents).

    `pattern` is folded by `matching.fold` and may hold wildcards.  With `words` it is words between
    spaces, each of which begins some word of the name (fuzzy matching).
    """

    attribute: Attribute
    pattern: str
    words: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Range matching (PS3.4 C.2.2.2.5): both ends included, an empty one open; one of them is not empty.

    Dates are YYYYMMDD, times the twelve digits HHMMSSFFFFFF of `matching.time_digits`.
    """

    attribute: Attribute
    low: str
    high: str


Alternative = Equals | OneOf | Like | NameLike | Between


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """Multiple value matching (PS3.4 C.2.2.2.7): the attribute meets at least one of `alternatives`.

    An alternative may be of another attribute of the same level: a patient's name or ID.
    """

    attribute: Attribute
    alternatives: tuple[Alternative, ...]


Condition = Alternative | AnyOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Entities at `level` that meet every condition.

    `headers` asks that each match bring the captured header of an instance below it, from which
    attributes that have no column are answered.  `limit` None is no limit.
    """

    level: Level
    conditions: tuple[Condition, ...] = ()
    headers: bool = False
    limit: int | None = None
    offset: int = 0
    patient_counts: bool = False
    """Ask below PATIENT level too for the numbers of studies, series and instances of the patient."""
    newest_first: bool = False
    """Order by study date and time, newest first, rather than by the catalog's own order (study level)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One answer: the values that have a column, of its own level and of those above, counts included.

    `header` is that of the instance at IMAGE level and of one instance below otherwise, with the
    transfer syntax its content is encoded in.
    """

    values: Values
    header: CapturedHeader | None = None
    transfer_syntax_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Instances to give out: those that meet every condition (the unique keys of PS3.4 C.4.2.2.1).

    Without `headers` a location's captured header is empty and covers nothing.
    """

    conditions: tuple[Condition, ...]
    headers: bool = True
