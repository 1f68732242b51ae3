"""Taking in again what the quarantine holds, after whatever was in the way has been put right."""

from __future__ import annotations

import io
import json

from services.common import logs
from services.common.errors import InvalidInstance, NotAcceptable
from services.common.events import from_json
from services.common.intake.intake import Intake
from services.common.model import QuarantineEntry, Route, Source
from services.common.ports import BlobStore, EventBus, Quarantine

_log = logs.get(__name__)

INSTANCE_KIND = "instance"


def retry(entry_id: str, *, intake: Intake, store: BlobStore, bus: EventBus, quarantine: Quarantine) -> str:
    """Take in again what the entry holds; gives a sentence that says what came of it.

    The entry is released where this returns, and stays where it raises.

    Raises:
        NotFound: there is no such entry.
        NotAcceptable: the entry holds nothing that could be tried again.
        InvalidInstance: its bytes are refused once more, for the reason said.
    """
    entry = quarantine.get(entry_id)
    said = _accept(entry, intake, store) if entry.kind == INSTANCE_KIND else _publish(entry, bus)
    quarantine.release(entry_id)
    return said


def _accept(entry: QuarantineEntry, intake: Intake, store: BlobStore) -> str:
    if entry.blob is None:
        raise NotAcceptable("the entry holds no bytes: its sender has to send them again")
    said = json.loads(entry.payload)["source"]
    source = Source(**{**said, "route": Route(said["route"])})
    with store.open(entry.blob) as raw, io.BytesIO(raw.readall() or b"") as stream:
        try:
            stored = intake.accept_file(stream, source, is_held=True)
        except InvalidInstance as refusal:
            _log.warning("retry_refused", entry_id=entry.entry_id, reason=str(refusal))
            raise InvalidInstance(f"refused again: {refusal}", tag=refusal.tag) from refusal
    return f"stored as {stored.blob.key}"


def _publish(entry: QuarantineEntry, bus: EventBus) -> str:
    event = from_json(entry.payload)
    bus.publish(event)
    return f"told again: {event.summary}"
