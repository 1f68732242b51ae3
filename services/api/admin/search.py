"""What the study list's form asks of the catalog."""

from __future__ import annotations

from dataclasses import dataclass, fields
from urllib.parse import urlencode

from services.common.attributes import BY_KEYWORD
from services.common.matching import condition
from services.common.model import Level
from services.common.query import Alternative, AnyOf, Condition, Query

PAGE_SIZE = 50
_SHORTEST_WORD = 3
"""A shorter word has no trigram by which an index finds it in the middle of a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The form as it was filled in; dates are ``YYYY-MM-DD`` or DICOM's own form."""

    patient: str = ""
    accession: str = ""
    modality: str = ""
    earliest: str = ""
    latest: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not any(getattr(self, field.name) for field in fields(self))

    def query(self, page: int) -> Query:
        """The studies of a page, newest first, and one more where there is another page.

        Raises:
            InvalidQuery: a date is none.
        """
        asked = (
            _patient(_words(self.patient)),
            _beginning("AccessionNumber", _words(self.accession)),
            _keyed("ModalitiesInStudy", _words(self.modality).upper()),
            _keyed("StudyDate", _dates(self.earliest, self.latest)),
        )
        return Query(
            level=Level.STUDY,
            conditions=tuple(one for one in asked if one is not None),
            limit=PAGE_SIZE + 1,
            offset=(page - 1) * PAGE_SIZE,
            newest_first=True,
        )

    def address(self, page: int) -> str:
        """The query string that shows a page of this search again."""
        filled = {field.name: getattr(self, field.name) for field in fields(self)}
        numbered = {**filled, "page": str(page) if page > 1 else ""}
        return urlencode({name: value for name, value in numbered.items() if value})


def _patient(text: str) -> Condition | None:
    """Whose name has words that begin so, or whose ID begins so; ``*`` and ``?`` stand for what they do
    in C-FIND.  A text too short for the index is the beginning of the whole name."""
    if not text:
        return None
    name = BY_KEYWORD["PatientName"]
    has_wildcard = "*" in text or "?" in text
    is_short = max(map(len, text.split())) < _SHORTEST_WORD
    by_name = (
        condition(name, text if has_wildcard else f"{text}*")
        if has_wildcard or is_short
        else condition(name, text, fuzzy=True)
    )
    found = [one for one in (by_name, _beginning("PatientID", text)) if one is not None]
    alternatives: list[Alternative] = [one for one in found if not isinstance(one, AnyOf)]
    return AnyOf(attribute=name, alternatives=tuple(alternatives)) if alternatives else None


def _beginning(keyword: str, text: str) -> Condition | None:
    return condition(BY_KEYWORD[keyword], f"{text}*") if text else None


def _keyed(keyword: str, text: str) -> Condition | None:
    return condition(BY_KEYWORD[keyword], text) if text else None


def _words(text: str) -> str:
    """What was typed, without the backslash, which would part it into several values."""
    return text.replace("\\", " ").strip()


def _dates(earliest: str, latest: str) -> str:
    low, high = (one.strip().replace("-", "") for one in (earliest, latest))
    return f"{low}-{high}" if low or high else ""
