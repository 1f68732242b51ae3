"""The nouns that every service shares: frozen, keyword-only, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

Values = Mapping[str, str]
"""Attribute values by keyword of `services.common.attributes`; an attribute without a value is absent.

Text is decoded to Unicode; several values are joined by a backslash as in the data set (PS3.5 6.4).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Where bytes lie: `length` bytes from byte `offset` of the object `key` in `bucket`."""

    bucket: str
    key: str
    offset: int
    length: int

    def part(self, offset: int, length: int) -> BlobRef:
        """The `length` bytes that begin `offset` bytes into this blob."""
        return BlobRef(bucket=self.bucket, key=self.key, offset=self.offset + offset, length=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceKey:
    """The three UIDs that place a SOP instance."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """SHA-256, 64 hex digits each: of the data set as received, and of the whole stored file."""

    data_set: str
    file: str


class Route(StrEnum):
    """The way an instance came in."""

    DIMSE = "dimse"
    STOW = "stow"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who sent an instance.

    `default_issuer` is the node's Issuer of Patient ID, for patients that come without one.
    """

    route: Route
    calling_aet: str
    called_aet: str
    default_issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedHeader:
    """What `part10.HeaderScanner` kept of a data set; only `services.common.part10` reads `content`.

    `covers` is the count of data set bytes that were scanned, so a header is complete where it
    equals the length of the data set.  `version` names the rules by which values were left out.
    """

    version: int
    content: bytes
    covers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An original that is durable in the object store, and all that is known of it without reading it.

    The blob is a Part 10 file (PS3.10 7.1); its data set begins `data_set_offset` bytes into it and
    is, to the byte, what the sender sent in `transfer_syntax_uid`.
    """

    key: InstanceKey
    sop_class_uid: str
    transfer_syntax_uid: str
    blob: BlobRef
    data_set_offset: int
    digests: Digests
    received_at: datetime
    source: Source
    header: CapturedHeader

    @property
    def data_set(self) -> BlobRef:
        """The data set alone, without preamble and file meta information."""
        return self.blob.part(self.data_set_offset, self.blob.length - self.data_set_offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """What the catalog learns from one stored instance."""

    stored: StoredInstance
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedInstance:
    """An instance that the catalog now serves, told to those who derive things from it."""

    key: InstanceKey
    sop_class_uid: str
    transfer_syntax_uid: str
    blob: BlobRef
    data_set_offset: int
    data_set_digest: str


class RenditionKind(StrEnum):
    """What a rendition is for."""

    JPEG2000 = "jpeg2000"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the original data set comes back, to the byte, from a lossless rendition.

    original = prefix + Pixel Data value + suffix, where prefix and suffix are verbatim bytes of the
    rendition's blob (offsets from the blob's start), and the value is the decoded pixels as the
    original laid them out (`planar_configuration`; `byte_order` ``<`` or ``>``), followed by `padding`.
    """

    prefix_offset: int
    prefix_length: int
    suffix_offset: int
    suffix_length: int
    padding: bytes
    planar_configuration: int
    byte_order: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """Something derived from the original whose data set has `source_digest`, in that transfer syntax.

    For `RenditionKind.JPEG2000` the blob begins with a Part 10 file of `file_length` bytes, whose data
    set begins at `data_set_offset`; what follows it belongs to the recipe.  For a thumbnail the whole
    blob is a JPEG and `transfer_syntax_uid` is empty.  An image that cannot have the rendition has no
    `blob`, and `refusal` says why.
    """

    sop_instance_uid: str
    source_digest: str
    source_transfer_syntax_uid: str
    kind: RenditionKind
    transfer_syntax_uid: str = ""
    blob: BlobRef | None = None
    file_length: int = 0
    data_set_offset: int = 0
    digest: str = ""
    recipe: Recipe | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An instance that can be given out: its original and the renditions made of that very original."""

    key: InstanceKey
    sop_class_uid: str
    transfer_syntax_uid: str
    blob: BlobRef
    data_set_offset: int
    digests: Digests
    header: CapturedHeader
    renditions: tuple[Rendition, ...] = ()

    @property
    def data_set(self) -> BlobRef:
        """The original's data set alone, without preamble and file meta information."""
        return self.blob.part(self.data_set_offset, self.blob.length - self.data_set_offset)

    def rendition(self, kind: RenditionKind) -> Rendition | None:
        """The rendition of that kind, where there is one with bytes."""
        return next((r for r in self.renditions if r.kind is kind and r.blob is not None), None)


class Level(IntEnum):
    """Query/Retrieve levels, from the root down (PS3.4 C.3)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A remote application entity that Gantry knows (a modality, a viewer, another archive)."""

    aet: str
    host: str
    port: int
    description: str = ""
    default_issuer: str = ""
    idle_timeout_seconds: int | None = None
    transfer_syntax_uids: tuple[str, ...] = ()
    """What it is offered for storage, best first; empty: whatever an instance is stored in, and more."""
    associations: int = 1
    """Over how many associations at a time it is sent to; several do not keep the order of instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """Something that was refused or given up, and why; `blob` holds its bytes where there are any.

    `kind` is ``instance`` (bytes that could not be stored; `payload` is JSON of the `Source` and of what
    the sender said about it) or the name of the task that gave up (`payload` is its event's JSON).
    `digest` is the SHA-256 of the data set as received, of the whole file where none could be told in it.
    """

    entry_id: str
    kind: str
    reason: str
    payload: str
    held_at: datetime
    tag: int | None = None
    blob: BlobRef | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An original whose very bytes are served from another blob, which has `kept_file_digest`."""

    blob: BlobRef
    kept: BlobRef
    kept_file_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrendered:
    """Served instances without any rendition or refusal, among those with a number up to `through`.

    `more` says whether there are instances with a greater number.
    """

    instances: tuple[IndexedInstance, ...]
    through: int
    more: bool
