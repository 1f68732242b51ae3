"""Instance records out of thin air: what an instance says, and a key that tells when it came."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import timedelta

from services.common import keys
from services.common.keys import Area, hour_prefix
from services.common.model import (
    BlobRef,
    CapturedHeader,
    Digests,
    InstanceKey,
    InstanceRecord,
    Route,
    Source,
    StoredInstance,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
_FIRST_MS = 1_795_000_000_000


def key(moment: int) -> str:
    """The key of an original that came `moment` milliseconds after a fixed time."""
    ordinal = uuid.UUID(int=(_FIRST_MS + moment) << 80 | 7 << 76 | 2 << 62 | moment)
    probe = f"{Area.ORIGINALS}/2000/01/01/00/{ordinal.hex}.dcm"
    return f"{hour_prefix(keys.received_at(probe))}{ordinal.hex}.dcm"


def record(
    moment: int,
    *,
    study: str = "1.2",
    series: str = "1.2.3",
    sop: str = "1.2.3.4",
    content: str = "",
    values: Mapping[str, str] | None = None,
    sop_class_uid: str = CT,
    transfer_syntax_uid: str = EXPLICIT,
    default_issuer: str = "",
    header: bytes = b"",
) -> InstanceRecord:
    """An instance that came at `moment`; its bytes are those of every other one of equal `content`."""
    where = key(moment)
    data_set = hashlib.sha256(ascii((sop, content)).encode()).hexdigest()
    stored = StoredInstance(
        key=InstanceKey(study_instance_uid=study, series_instance_uid=series, sop_instance_uid=sop),
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        blob=BlobRef(bucket="memory", key=where, offset=0, length=1000 + moment),
        data_set_offset=400,
        digests=Digests(data_set=data_set, file=hashlib.sha256(where.encode()).hexdigest()),
        received_at=keys.received_at(where) + timedelta(microseconds=moment % 1000),
        source=Source(
            route=Route.DIMSE,
            calling_aet=f"CT{moment % 3}",
            called_aet="GANTRY",
            default_issuer=default_issuer,
        ),
        header=CapturedHeader(version=1, content=header or ascii((sop, content)).encode(), covers=600),
    )
    return InstanceRecord(stored=stored, values=values or {})
