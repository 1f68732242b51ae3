"""From a captured header to what the catalog has columns for.  PS3.5 6.2; nothing invalid stops it."""

from __future__ import annotations

import hashlib
import re

from services.common.attributes import ATTRIBUTES, BY_KEYWORD, Matching
from services.common.model import InstanceRecord, StoredInstance
from services.common.part10 import Header, values

_KEYWORDS = tuple(a.keyword for a in ATTRIBUTES if a.matching not in (Matching.SET, Matching.COUNT))
_WHO = ("PatientID", "IssuerOfPatientID")
_ACR_NEMA_DATE = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")


def extract(stored: StoredInstance) -> InstanceRecord:
    """Read every attribute that has a column and a value; what is no valid value is kept as it is.

    Raises:
        InvalidInstance: the header cannot be read at all.
    """
    header = Header(stored.header, stored.transfer_syntax_uid)
    found = {
        keyword: text
        for keyword, raw in values(header, _KEYWORDS).items()
        if (text := _normal(BY_KEYWORD[keyword].vr, raw))
    }
    found |= {keyword: _told_apart(found[keyword], header, keyword) for keyword in _WHO if keyword in found}
    return InstanceRecord(stored=stored, values=found)


def _told_apart(text: str, header: Header, keyword: str) -> str:
    """An identity that cannot be decoded whole, and its SHA-256: two people must never become one."""
    element = header.element(keyword)
    raw = (element.value if element is not None else None) or b""
    if "\ufffd" not in text and b"\0" not in raw.rstrip(b"\0 "):
        return text
    return f"{text}~{hashlib.sha256(raw).hexdigest()}"


def _normal(vr: str, text: str) -> str:
    """The value without what means nothing: an all-padding value, the dots of an ACR-NEMA date."""
    if not text.strip(" \\\0"):
        return ""
    if vr == "DA":
        return _ACR_NEMA_DATE.sub(r"\1\2\3", text)
    return text
