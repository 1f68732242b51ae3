"""From news of stored instances to what the catalog is given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.errors import BlobMissing, InvalidInstance
from services.common.events import InstancesStored
from services.common.model import BlobRef, CapturedHeader, StoredInstance
from services.index.handler import index_instances
from tests.fakes.made_instances import indexed_instance, stored_instance
from tests.fakes.memory_catalog import MemoryCatalogWriter
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.part10.data_sets import EXPLICIT, Writer, scan, uids

_PREAMBLE = 400
_WRITER = Writer(EXPLICIT)
_DATA_SET = (
    uids(_WRITER)
    + b"".join(_WRITER.element(0x00091000 + n, "LO", b"private ") for n in range(100))
    + _WRITER.element(0x00100010, "PN", b"Doe^Jane")
    + _WRITER.element(0x7FE00010, "OW", bytes(5000))
    + _WRITER.element(0xFFFCFFFC, "OB", bytes(8))
)


def _stored(number: int, limit: int = 64 * 1024) -> StoredInstance:
    stored = stored_instance(number)
    blob = BlobRef(bucket="memory", key=stored.blob.key, offset=0, length=_PREAMBLE + len(_DATA_SET))
    header = scan(_DATA_SET, limit=limit)
    return replace(stored, blob=blob, data_set_offset=_PREAMBLE, header=header)


def _put(store: MemoryStore, stored: StoredInstance) -> None:
    writer = store.create(stored.blob.key)
    writer.write(bytes(_PREAMBLE) + _DATA_SET)
    writer.commit({})


def test_instances_become_records_without_a_look_into_the_store() -> None:
    catalog = MemoryCatalogWriter()
    store = MemoryStore()
    store.down = True
    instances = (_stored(1), _stored(2))
    told = index_instances(InstancesStored(instances=instances), catalog, store)
    assert told.instances == tuple(map(indexed_instance, instances))
    assert [record.values["PatientName"] for record in catalog.records.values()] == ["Doe^Jane"] * 2


def test_a_header_whose_capture_stopped_early_is_completed_from_the_store() -> None:
    catalog, store = MemoryCatalogWriter(), MemoryStore()
    stored = _stored(1, limit=300)
    assert stored.header.covers < len(_DATA_SET)
    _put(store, stored)
    index_instances(InstancesStored(instances=(stored,)), catalog, store)
    record = catalog.records[stored.blob.key]
    assert record.values["PatientName"] == "Doe^Jane"
    assert record.stored.header == scan(_DATA_SET)
    assert record.stored.header.covers == len(_DATA_SET)


def test_an_incomplete_header_of_a_missing_blob_says_so() -> None:
    with pytest.raises(BlobMissing):
        index_instances(
            InstancesStored(instances=(_stored(1, limit=300),)), MemoryCatalogWriter(), MemoryStore()
        )


def test_one_unreadable_header_keeps_the_batch_out_whole() -> None:
    """The runner then hands the others in again, each on its own (`services.common.workers`)."""
    catalog = MemoryCatalogWriter()
    broken = replace(
        _stored(2),
        header=CapturedHeader(version=1, content=b"\x08\0\x16\0UI\xff\0abc", covers=len(_DATA_SET)),
    )
    with pytest.raises(InvalidInstance):
        index_instances(InstancesStored(instances=(_stored(1), broken)), catalog, MemoryStore())
    assert catalog.records == {}


def test_no_news_is_nothing() -> None:
    assert (
        index_instances(InstancesStored(instances=()), MemoryCatalogWriter(), MemoryStore()).instances == ()
    )
