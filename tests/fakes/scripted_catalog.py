"""A catalog that answers what it was told to, and instances out of thin air for it to locate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from services.common.model import (
    BlobRef,
    CapturedHeader,
    Digests,
    InstanceKey,
    Location,
    Rendition,
    RenditionKind,
)
from services.common.query import Match, Query, Selection
from tests.fakes.memory_store import MemoryStore

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG2000 = "1.2.840.10008.1.2.4.90"
_PREAMBLE = b"file meta information"
_RECIPE = b"what makes the original of it"


class ScriptedCatalog:
    """Gives `matches` to every query and `locations` to every selection, and remembers what was asked."""

    def __init__(self, matches: Sequence[Match] = (), locations: Sequence[Location] = ()) -> None:
        self.matches = matches
        self.locations = locations
        self.queries: list[Query] = []
        self.selections: list[Selection] = []
        self.closed = False

    def find(self, query: Query) -> Iterator[Match]:
        self.queries.append(query)
        try:
            yield from self.matches
        finally:
            self.closed = True

    def count(self, query: Query) -> int:
        return len(self.matches)

    def locate(self, selection: Selection) -> Sequence[Location]:
        self.selections.append(selection)
        return self.locations


def located(
    store: MemoryStore,
    number: int,
    data_set: bytes = b"",
    *,
    sop_class_uid: str = CT,
    transfer_syntax_uid: str = EXPLICIT,
    jpeg2000: bytes | None = None,
) -> Location:
    """An instance whose original holds `data_set`, with a JPEG 2000 rendition where that is given."""
    data_set = data_set or f"data set {number}".encode()
    sop_instance_uid = f"1.2.3.{number}"
    digest = hashlib.sha256(data_set).hexdigest()
    renditions = []
    if jpeg2000 is not None:
        renditions.append(
            Rendition(
                sop_instance_uid=sop_instance_uid,
                source_digest=digest,
                source_transfer_syntax_uid=transfer_syntax_uid,
                kind=RenditionKind.JPEG2000,
                transfer_syntax_uid=JPEG2000,
                blob=_put(store, f"renditions/{number}", _PREAMBLE + jpeg2000 + _RECIPE),
                file_length=len(_PREAMBLE) + len(jpeg2000),
                data_set_offset=len(_PREAMBLE),
            )
        )
    return Location(
        key=InstanceKey(
            study_instance_uid="1.2", series_instance_uid="1.2.3", sop_instance_uid=sop_instance_uid
        ),
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        blob=_put(store, f"originals/{number}", _PREAMBLE + data_set),
        data_set_offset=len(_PREAMBLE),
        digests=Digests(data_set=digest, file=digest),
        header=CapturedHeader(version=1, content=b"", covers=0),
        renditions=tuple(renditions),
    )


def _put(store: MemoryStore, key: str, content: bytes) -> BlobRef:
    writer = store.create(key)
    writer.write(content)
    return writer.commit({})
