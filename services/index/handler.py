"""The use case of the index service: from news of stored instances to rows, and to news of what is served."""

from __future__ import annotations

from dataclasses import replace

from services.common.events import InstancesIndexed, InstancesStored
from services.common.model import StoredInstance
from services.common.part10 import complete
from services.common.ports import BlobStore, CatalogWriter
from services.index.extract import extract


def index_instances(event: InstancesStored, catalog: CatalogWriter, store: BlobStore) -> InstancesIndexed:
    """Make stored instances findable.  Safe to repeat and to reorder.

    Either all of them become findable or none does: where one is to blame, `services.common.workers`
    hands the others in again, each on its own.

    Raises:
        InvalidInstance: the header of an instance cannot be read.
        BlobMissing: an instance whose header must be completed is not in the store.
    """
    records = [extract(with_whole_header(stored, store)) for stored in event.instances]
    return InstancesIndexed(instances=tuple(catalog.upsert(records)))


def with_whole_header(stored: StoredInstance, store: BlobStore) -> StoredInstance:
    """The instance itself, its header completed from the store where the capture stopped early."""
    data_set = stored.data_set

    def read(offset: int, length: int) -> bytes:
        with store.open(data_set.part(offset, length)) as stream:
            return stream.read(length) or b""

    header = complete(stored.header, stored.transfer_syntax_uid, read, data_set.length)
    return stored if header is stored.header else replace(stored, header=header)
