"""Stored instances out of thin air, for tests that look at no byte of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from services.common.events import InstancesIndexed, InstancesStored
from services.common.keys import new_key
from services.common.model import (
    BlobRef,
    CapturedHeader,
    Digests,
    IndexedInstance,
    InstanceKey,
    Route,
    Source,
    StoredInstance,
)

PATIENT_NAME = "Mustermann^Erika^^Dr."
"""What the header of each holds, and nothing that people or machines may read on the way."""


def stored_instance(
    number: int, *, header_bytes: int = 100, received_at: datetime | None = None
) -> StoredInstance:
    """The instance of that number, whose header is as long as asked and begins with the patient's name."""
    when = received_at or datetime.now(UTC)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return StoredInstance(
        key=InstanceKey(
            study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", sop_instance_uid=f"1.2.3.4.{number}"
        ),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        blob=BlobRef(bucket="memory", key=new_key(when), offset=0, length=5000),
        data_set_offset=400,
        digests=Digests(data_set=digest, file=digest[::-1]),
        received_at=when,
        source=Source(route=Route.DIMSE, calling_aet="CT1", called_aet="GANTRY"),
        header=CapturedHeader(
            version=1, content=PATIENT_NAME.encode().ljust(header_bytes, b"."), covers=header_bytes
        ),
    )


def instances_stored(*numbers: int) -> InstancesStored:
    """News of the instances of those numbers."""
    return InstancesStored(instances=tuple(stored_instance(number) for number in numbers))


def indexed_instance(stored: StoredInstance) -> IndexedInstance:
    """What the catalog says of it once it serves it."""
    return IndexedInstance(
        key=stored.key,
        sop_class_uid=stored.sop_class_uid,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        blob=stored.blob,
        data_set_offset=stored.data_set_offset,
        data_set_digest=stored.digests.data_set,
    )


def instances_indexed(*numbers: int) -> InstancesIndexed:
    """News that the catalog serves the instances of those numbers."""
    return InstancesIndexed(instances=tuple(indexed_instance(stored_instance(number)) for number in numbers))
