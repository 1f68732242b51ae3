"""Which value wins, and which bytes: pure, and the same whatever the order and however often.

An ordinal is the UUIDv7 in an original's key (`services.common.keys.ordinal`): the greater came later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.common import keys
from services.common.model import BlobRef, Digests, Values

NOTHING = UUID(int=0)
"""The source of a row that has no values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The values of one row by keyword, and for each the ordinal of the instance that it came from."""

    values: Values = field(default_factory=dict)
    sources: Mapping[str, UUID] = field(default_factory=dict)

    @classmethod
    def of(cls, ordinal: UUID, values: Values) -> Merged:
        """What a single instance says."""
        return cls(values=values, sources=dict.fromkeys(values, ordinal))

    @classmethod
    def loaded(cls, values: Values, source: str, older_sources: Mapping[str, str] | None) -> Merged:
        """A row as it was stored, ordinals as text."""
        older = {keyword: UUID(ordinal) for keyword, ordinal in (older_sources or {}).items()}
        return cls(values=values, sources={keyword: older.get(keyword, UUID(source)) for keyword in values})

    def only(self, keywords: Container[str]) -> Merged:
        """The part of it that these keywords name."""
        sources = {keyword: ordinal for keyword, ordinal in self.sources.items() if keyword in keywords}
        return Merged(values={keyword: self.values[keyword] for keyword in sources}, sources=sources)

    def stored_sources(self) -> tuple[UUID, Mapping[str, str] | None]:
        """The ordinal of most values, the greatest where several have as many, and those of the others."""
        counts = Counter(self.sources.values())
        source = max(counts, key=lambda ordinal: (counts[ordinal], ordinal), default=NOTHING)
        others = {kw: str(ordinal) for kw, ordinal in sorted(self.sources.items()) if ordinal != source}
        return source, others or None


def merge(parts: Iterable[Merged]) -> Merged:
    """Column by column the value with the greatest ordinal; what has no value never hides one."""
    values: dict[str, str] = {}
    sources: dict[str, UUID] = {}
    for part in parts:
        for keyword, ordinal in part.sources.items():
            if keyword not in sources or ordinal > sources[keyword]:
                sources[keyword] = ordinal
                values[keyword] = part.values[keyword]
    return Merged(values=values, sources=sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One blob that holds a SOP instance, and how it came."""

    blob: BlobRef
    data_set_offset: int
    transfer_syntax_uid: str
    digests: Digests
    received_at: datetime
    route: str
    calling_aet: str
    called_aet: str

    @property
    def ordinal(self) -> UUID:
        """When it came, in the order of all originals."""
        return keys.ordinal(self.blob.key)

    @property
    def content(self) -> tuple[str, str]:
        """Equal for originals that hold the same bytes, to be read in the same way."""
        return self.digests.data_set, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All originals of one SOP instance: that which is served, when its bytes last came, and the others."""

    served: Original
    latest: UUID
    others: Sequence[Original]


def history(originals: Iterable[Original], *, serving: History | None = None) -> History:
    """What came last is served, from the first blob that holds those very bytes.

    So the same bytes once more change nothing but `latest`, and bytes that come back after others had
    replaced them are served again.  `serving` is what was known before `originals` came; the blob with
    which its bytes came last may have been swept away as a duplicate since.
    """
    known = [*originals, *([serving.served, *serving.others] if serving else [])]
    by_ordinal = {original.ordinal: original for original in known}
    latest = max(by_ordinal)
    content = by_ordinal[latest].content
    if serving and serving.latest >= latest:
        latest, content = serving.latest, serving.served.content
    first = min(ordinal for ordinal, original in by_ordinal.items() if original.content == content)
    others = tuple(by_ordinal[ordinal] for ordinal in sorted(by_ordinal) if ordinal != first)
    return History(served=by_ordinal[first], latest=latest, others=others)
