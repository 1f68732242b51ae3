"""The use case of transcode: every instance gets its renditions or a recorded reason."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydicom.dataset import Dataset

from services.common.errors import BlobMissing, Unavailable
from services.common.events import TRANSCODE_TASK, InstancesIndexed, to_json
from services.common.model import IndexedInstance, Rendition, RenditionKind
from services.common.pixels.description import ImageDescription
from services.common.pixels.pool import CodecPool, Limits
from services.transcode.handler import derive, rendition_key, transcode
from services.transcode.tasks import tasks
from tests.fakes.memory_attempts import MemoryAttempts
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    EXPLICIT,
    data_set_bytes,
    distinct,
    image_data_set,
    noise,
    store_data_set,
    store_file,
)

_CT = ImageDescription(
    rows=400,
    columns=300,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
)


class _Catalog:
    """Remembers what was recorded; while `down` it is not to be had."""

    def __init__(self) -> None:
        self.recorded: list[Rendition] = []
        self.down = False

    def record_rendition(self, rendition: Rendition) -> None:
        if self.down:
            raise Unavailable("the catalog is down")
        self.recorded.append(rendition)


@pytest.fixture(scope="module")
def pool() -> Iterator[CodecPool]:
    codec_pool = CodecPool(Limits(processes=2))
    yield codec_pool
    codec_pool.close()


def _image(store: MemoryStore, image: ImageDescription = _CT) -> IndexedInstance:
    return store_data_set(
        store, data_set_bytes(image_data_set(noise(image).tobytes(), image), EXPLICIT), EXPLICIT
    )


def _run(store: MemoryStore, pool: CodecPool, *instances: IndexedInstance) -> list[Rendition]:
    catalog = _Catalog()
    transcode(InstancesIndexed(instances=instances), store, catalog, pool)  # type: ignore[arg-type]
    return catalog.recorded


def test_an_image_gets_a_thumbnail_and_a_proven_rendition(pool: CodecPool) -> None:
    store = MemoryStore()
    instance = _image(store)
    thumbnail, jpeg2000 = _run(store, pool, instance)
    assert (thumbnail.kind, jpeg2000.kind) == (RenditionKind.THUMBNAIL, RenditionKind.JPEG2000)
    for rendition in (thumbnail, jpeg2000):
        assert rendition.blob is not None
        assert rendition.source_digest == instance.data_set_digest
        assert rendition.sop_instance_uid == instance.key.sop_instance_uid
        content, metadata = store.objects[rendition.blob.key]
        assert rendition.digest == hashlib.sha256(content).hexdigest() == metadata["file-sha256"]
        assert rendition.blob.length == len(content)
    assert thumbnail.blob is not None
    picture = Image.open(io.BytesIO(store.objects[thumbnail.blob.key][0]))
    assert (picture.format, picture.size) == ("JPEG", (150, 200))
    assert jpeg2000.recipe is not None


def test_a_repeated_event_leaves_the_same_objects(pool: CodecPool) -> None:
    store = MemoryStore()
    instance = _image(store)
    first = _run(store, pool, instance)
    objects = dict(store.objects)
    assert _run(store, pool, instance) == first
    assert store.objects == objects


def test_what_cannot_be_derived_is_recorded_and_hurts_no_neighbour(pool: CodecPool) -> None:
    store = MemoryStore()
    report = Dataset()
    report.SOPInstanceUID = "1.2.3"
    no_pixels = store_data_set(store, data_set_bytes(report, EXPLICIT), EXPLICIT)
    broken = store_data_set(store, b"\x08\x00\x16\x00UI\xff\xff", EXPLICIT)
    short = store_data_set(store, data_set_bytes(image_data_set(b"1234", _CT), EXPLICIT), EXPLICIT)
    recorded = _run(store, pool, no_pixels, broken, short, _image(store))
    reasons = [rendition.refusal for rendition in recorded]
    assert reasons[:2] == ["the instance has no pixels"] * 2
    assert "(0008,0016)" in reasons[2]
    assert reasons[4] == "its pixels have 4 bytes, 240000 are needed"
    assert reasons[6:] == ["", ""]
    assert all(rendition.blob is None for rendition in recorded[:6])


def test_one_bit_pixels_get_a_thumbnail_only(pool: CodecPool) -> None:
    store = MemoryStore()
    image = replace(_CT, bits_allocated=1, bits_stored=1, high_bit=0)
    content = data_set_bytes(image_data_set(bytes(image.frame_length), image), EXPLICIT)
    thumbnail, jpeg2000 = _run(store, pool, store_data_set(store, content, EXPLICIT))
    assert thumbnail.blob is not None
    assert jpeg2000.blob is None
    assert "1 bits" in jpeg2000.refusal


def test_a_missing_original_is_told_after_the_others_are_done(pool: CodecPool) -> None:
    store = MemoryStore()
    gone, there = _image(store), _image(store)
    store.delete(gone.blob.key)
    catalog = _Catalog()
    with pytest.raises(BlobMissing):
        transcode(InstancesIndexed(instances=(gone, there)), store, catalog, pool)  # type: ignore[arg-type]
    assert len(catalog.recorded) == 2


@pytest.mark.parametrize("what", ["store", "catalog"])
def test_an_outage_is_no_refusal(what: str, pool: CodecPool) -> None:
    store, catalog = MemoryStore(), _Catalog()
    instance = _image(store)
    store.down, catalog.down = what == "store", what == "catalog"
    with pytest.raises(Unavailable):
        transcode(InstancesIndexed(instances=(instance,)), store, catalog, pool)  # type: ignore[arg-type]
    assert not catalog.recorded


def test_keys_are_those_of_the_originals_and_differ_where_originals_share_an_object() -> None:
    instance = _image(MemoryStore())
    key = rendition_key(instance, RenditionKind.THUMBNAIL)
    stem = instance.blob.key.removeprefix("originals/").removesuffix(".dcm")
    assert key == f"renditions/{stem}.jpg"
    packed = replace(instance, blob=instance.blob.part(512, 100))
    assert rendition_key(packed, RenditionKind.THUMBNAIL) == f"renditions/{stem}-512.jpg"


def test_the_task_runs_the_use_case(pool: CodecPool) -> None:
    store, catalog = MemoryStore(), _Catalog()
    table = tasks(
        store=store,
        catalog=catalog,  # type: ignore[arg-type]
        pool=pool,
        attempts=MemoryAttempts(),
        quarantine=MemoryQuarantine(),
        bus=MemoryBus(),
    )
    assert table[TRANSCODE_TASK](to_json(InstancesIndexed(instances=(_image(store),))))
    assert len(catalog.recorded) == 2


def test_files_of_the_corpus_get_renditions_or_a_reason(corpus_files: list[Path], pool: CodecPool) -> None:
    made = refused = 0
    # Every one of them is encoded in the tests of `make_jpeg2000`.
    for path in distinct(corpus_files)[::4]:
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None:
            continue
        for rendition in derive(instance, store, pool):
            assert (rendition.blob is None) == bool(rendition.refusal), path.name
            made += rendition.blob is not None
            refused += rendition.blob is None
    assert made > 20
    assert refused > 5
