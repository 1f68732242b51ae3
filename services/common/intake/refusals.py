"""What becomes of an instance that cannot be stored: an entry in the quarantine and a log line."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

from services.common import logs
from services.common.errors import InvalidInstance
from services.common.intake.checks import Announcement
from services.common.keys import held_bytes_key, new_entry_id
from services.common.model import QuarantineEntry, Source
from services.common.part10 import tag_name
from services.common.ports import BlobWriter, Quarantine

_log = logs.get(__name__)


def hold(
    refusal: InvalidInstance,
    received: BlobWriter | None,
    *,
    size: int,
    source: Source,
    announced: Announcement | None,
    digest: str,
    held_at: datetime,
    quarantine: Quarantine,
) -> None:
    """Keep what was `received` (`size` bytes; None: too many to keep) where an operator sees why.

    The same bytes, refused for the same reason, are kept once, however often they come; the log has a line
    for each time.

    Raises:
        Unavailable: the quarantine does not answer; the sender may try again.
    """
    earlier = quarantine.holding(digest)
    if earlier is not None and earlier.reason.startswith(str(refusal)):
        _log_refusal(refusal, earlier.entry_id, size=size, source=source, is_known=True)
        return
    entry_id = new_entry_id(held_at)
    blob = received.commit({}, key=held_bytes_key(entry_id)) if received is not None else None
    said = asdict(announced) if announced is not None else {}
    entry = QuarantineEntry(
        entry_id=entry_id,
        kind="instance",
        reason=str(refusal) if blob is not None else f"{refusal} ({size} bytes, too many to keep)",
        payload=json.dumps({"source": asdict(source), **said}),
        held_at=held_at,
        tag=refusal.tag,
        blob=blob,
        digest=digest,
    )
    quarantine.hold(entry)
    _log_refusal(refusal, entry_id, size=size, source=source, is_known=False)


def _log_refusal(
    refusal: InvalidInstance, entry_id: str, *, size: int, source: Source, is_known: bool
) -> None:
    _log.warning(
        "instance_refused",
        entry_id=entry_id,
        reason=str(refusal),
        tag=None if refusal.tag is None else tag_name(refusal.tag),
        bytes=size,
        route=source.route.value,
        calling_aet=source.calling_aet,
        known=is_known,
    )
