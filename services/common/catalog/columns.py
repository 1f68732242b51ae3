"""What may stand in a column: text that PostgreSQL can hold and a btree index can take.

An entry of a btree index holds about 2,600 bytes (a third of a page), and the widest index has five
columns.  So text is cut at 1,024 bytes of UTF-8, and an identity (a UID, Patient ID, issuer, and the birth
date and sex that tell patients apart) longer than 256 bytes becomes its beginning and its SHA-256, so
that two of them never collide.  PS3.5 6.2 allows 64 characters for each of these, which is 256 bytes at most.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from services.common.attributes import ATTRIBUTES, Attribute, Matching
from services.common.matching import fold, trigrams
from services.common.model import Level, Values

TEXT_BYTES = 1024
IDENTITY_BYTES = 256

_IDENTITIES = frozenset(
    (
        "PatientID",
        "IssuerOfPatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
    )
)
_PATIENT_KEYS = frozenset(("PatientBirthDate", "PatientSex"))
_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,18})(?:\.0*)?\s*")


def _of(*levels: Level) -> tuple[Attribute, ...]:
    return tuple(
        attribute
        for attribute in ATTRIBUTES
        if attribute.level in levels
        and attribute.matching not in (Matching.SET, Matching.COUNT)
        and attribute.keyword not in _IDENTITIES
    )


STUDY = _of(Level.PATIENT, Level.STUDY)
"""What a study row carries beside its identity: its own copy of the patient's values too."""

PATIENT = tuple(a for a in STUDY if a.level is Level.PATIENT and a.keyword not in _PATIENT_KEYS)
"""What a patient row carries beside its identity."""

SERIES = _of(Level.SERIES)
INSTANCE = _of(Level.IMAGE)


def text(value: str, limit: int = TEXT_BYTES) -> str:
    """`value` without NUL, with U+FFFD for what is no character, cut to `limit` bytes of UTF-8."""
    if len(value) <= limit and value.isascii() and "\0" not in value:
        return value
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if b"\0" in encoded:
        encoded = encoded.replace(b"\0", b"")
    return encoded[:limit].decode("utf-8", "ignore")


def identity(value: str) -> str:
    """`value` as `text` makes it, or, where that is over 256 bytes, its beginning, ``~`` and its SHA-256."""
    whole = text(value, limit=max(IDENTITY_BYTES, 4 * len(value)))
    encoded = whole.encode()
    if len(encoded) <= IDENTITY_BYTES:
        return whole
    digest = hashlib.sha256(encoded).hexdigest()
    return f"{text(whole, limit=IDENTITY_BYTES - len(digest) - 1)}~{digest}"


def value(attribute: Attribute, raw: str) -> str:
    """What the attribute's column holds for `raw`; a query for `raw` asks for this."""
    if attribute.keyword in _IDENTITIES or attribute.keyword in _PATIENT_KEYS:
        return identity(raw)
    return text(raw)


def derived(attribute: Attribute, value: str | None) -> Iterator[tuple[str, object]]:
    """The columns that are made of this one, and what they hold: a folded name, trigrams, an integer."""
    if attribute.matching is Matching.NAME:
        folded = None if value is None else text(fold(value))
        yield attribute.match_column, folded
        if attribute.trigram_column:
            yield attribute.trigram_column, None if folded is None else trigrams(folded)
    elif attribute.match_column:
        yield attribute.match_column, _integer(value)


def filled(attributes: Iterable[Attribute], values: Values) -> dict[str, object]:
    """A row's columns for these attributes, the derived ones included; None where there is no value."""
    row: dict[str, object] = {}
    for attribute in attributes:
        found = values.get(attribute.keyword)
        row[attribute.column] = found
        row.update(derived(attribute, found))
    return row


def loaded(attributes: Iterable[Attribute], row: Mapping[str, str | None]) -> Values:
    """The values that a row holds for these attributes."""
    return {a.keyword: found for a in attributes if (found := row[a.column]) is not None}


def _integer(value: str | None) -> int | None:
    match = _INTEGER.fullmatch(value or "")
    return int(match[1]) if match else None
