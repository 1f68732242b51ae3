"""What is noted beside an original's blob, as object metadata: short ASCII, empty values left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, unquote

from services.common.model import Digests, Route, Source

# Hyphens, for proxies drop HTTP headers with underscores.
_DATA_SET_DIGEST = "data-set-sha256"
_FILE_DIGEST = "file-sha256"
_DATA_SET_OFFSET = "data-set-offset"
_RECEIVED_AT = "received-at"
_ROUTE = "route"
_CALLING_AET = "calling-aet"
_CALLED_AET = "called-aet"
_DEFAULT_ISSUER = "default-issuer"


def to_metadata(
    *, digests: Digests, data_set_offset: int, received_at: datetime, source: Source
) -> Mapping[str, str]:
    """The notes of an original; what a sender chose is percent-encoded."""
    notes = {
        _DATA_SET_DIGEST: digests.data_set,
        _FILE_DIGEST: digests.file,
        _DATA_SET_OFFSET: str(data_set_offset),
        _RECEIVED_AT: received_at.isoformat(),
        _ROUTE: source.route.value,
        _CALLING_AET: _encode(source.calling_aet),
        _CALLED_AET: _encode(source.called_aet),
        _DEFAULT_ISSUER: _encode(source.default_issuer),
    }
    return {name: value for name, value in notes.items() if value}


def digests_of(metadata: Mapping[str, str]) -> Digests | None:
    """The digests noted, where both are."""
    if _DATA_SET_DIGEST not in metadata or _FILE_DIGEST not in metadata:
        return None
    return Digests(data_set=metadata[_DATA_SET_DIGEST], file=metadata[_FILE_DIGEST])


def source_of(metadata: Mapping[str, str], *, calling_aet: str, called_aet: str) -> Source:
    """Who sent the original; the titles of the file meta serve where none are noted."""
    return Source(
        route=Route(metadata.get(_ROUTE, Route.DIMSE)),
        calling_aet=unquote(metadata.get(_CALLING_AET, "")) or calling_aet,
        called_aet=unquote(metadata.get(_CALLED_AET, "")) or called_aet,
        default_issuer=unquote(metadata.get(_DEFAULT_ISSUER, "")),
    )


def _encode(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
