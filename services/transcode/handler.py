"""The use case of transcode: derive a thumbnail and a lossless JPEG 2000 rendition from each instance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from services.common import logs
from services.common.counts import Counter
from services.common.errors import BlobMissing, GantryError, InvalidInstance, NotAcceptable
from services.common.events import InstancesIndexed
from services.common.keys import Area
from services.common.model import IndexedInstance, Rendition, RenditionKind
from services.common.pixels.frames import StoredImage
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import opened
from services.common.pixels.rendering import picture_of
from services.common.pixels.rendition import make_jpeg2000, put
from services.common.ports import BlobStore, CatalogWriter
from services.transcode import policy

_log = logs.get(__name__)
_RENDITIONS = Counter(
    "gantry_renditions_total", "Renditions made and refused, by kind and outcome", ("kind", "outcome")
)
for _kind, _outcome in product(RenditionKind, ("made", "refused")):
    _RENDITIONS.labels(_kind.value, _outcome)  # there from the start, as zeros
_SUFFIXES = {RenditionKind.JPEG2000: ".j2k.dcm", RenditionKind.THUMBNAIL: ".jpg"}


def transcode(event: InstancesIndexed, store: BlobStore, catalog: CatalogWriter, pool: CodecPool) -> None:
    """Derive renditions from every instance, and record each or why there is none.  Safe to repeat.

    Raises:
        BlobMissing: an original is not in the store; the other instances are done with nevertheless.
        Unavailable: the store, the catalog or the codec processes do not answer.
    """
    missing: BlobMissing | None = None
    for instance in event.instances:
        try:
            renditions = derive(instance, store, pool)
        except BlobMissing as exc:
            missing = missing or exc
            continue
        for rendition in renditions:
            catalog.record_rendition(rendition)
            outcome = "refused" if rendition.blob is None else "made"
            _RENDITIONS.labels(rendition.kind.value, outcome).inc()
    if missing is not None:
        raise missing


def derive(instance: IndexedInstance, store: BlobStore, pool: CodecPool) -> list[Rendition]:
    """A rendition of each kind, the blobs of which are in the store, or a refusal."""
    data_set = instance.blob.part(instance.data_set_offset, instance.blob.length - instance.data_set_offset)
    try:
        with opened(store, data_set, instance.transfer_syntax_uid) as (reader, header):
            stored = StoredImage(reader, header, instance.transfer_syntax_uid)
            return [
                _attempt(instance, kind, make, stored, store, pool)
                for kind, make in (
                    (RenditionKind.THUMBNAIL, _thumbnail),
                    (RenditionKind.JPEG2000, _jpeg2000),
                )
            ]
    except (InvalidInstance, NotAcceptable) as exc:
        return [_refused(instance, kind, exc) for kind in RenditionKind]


_Maker = Callable[[IndexedInstance, StoredImage, BlobStore, CodecPool], Rendition]


def _attempt(
    instance: IndexedInstance,
    kind: RenditionKind,
    make: _Maker,
    stored: StoredImage,
    store: BlobStore,
    pool: CodecPool,
) -> Rendition:
    """One rendition; that another cannot be made does not hinder it."""
    try:
        return make(instance, stored, store, pool)
    except (InvalidInstance, NotAcceptable) as exc:
        return _refused(instance, kind, exc)


def _thumbnail(
    instance: IndexedInstance, stored: StoredImage, store: BlobStore, pool: CodecPool
) -> Rendition:
    rendition = Rendition(
        sop_instance_uid=instance.key.sop_instance_uid,
        source_digest=instance.data_set_digest,
        source_transfer_syntax_uid=instance.transfer_syntax_uid,
        kind=RenditionKind.THUMBNAIL,
    )
    picture = picture_of(stored, pool)
    return put(store, rendition_key(instance, RenditionKind.THUMBNAIL), rendition, iter((picture,)))


def _jpeg2000(instance: IndexedInstance, stored: StoredImage, store: BlobStore, pool: CodecPool) -> Rendition:
    refusal = policy.refusal(instance.sop_class_uid, instance.transfer_syntax_uid, stored.image)
    if refusal:
        raise NotAcceptable(refusal)
    return make_jpeg2000(store, stored, instance, pool, rendition_key(instance, RenditionKind.JPEG2000))


def rendition_key(instance: IndexedInstance, kind: RenditionKind) -> str:
    """Where a rendition lies: named after its original, so that a repeated task overwrites what it made."""
    stem = instance.blob.key.partition("/")[2].removesuffix(".dcm")
    within = f"-{instance.blob.offset}" if instance.blob.offset else ""
    return f"{Area.RENDITIONS}/{stem}{within}{_SUFFIXES[kind]}"


def _refused(instance: IndexedInstance, kind: RenditionKind, reason: GantryError) -> Rendition:
    _log.debug("rendition_refused", key=instance.blob.key, kind=kind.value, reason=str(reason))
    return Rendition(
        sop_instance_uid=instance.key.sop_instance_uid,
        source_digest=instance.data_set_digest,
        source_transfer_syntax_uid=instance.transfer_syntax_uid,
        kind=kind,
        refusal=str(reason),
    )
