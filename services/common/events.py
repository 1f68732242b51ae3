"""THE contract between the services: what is told over the queue, to and from JSON.

A message names its kind and version.  Optional fields may be added; anything else is a new version,
carried beside the old one until nobody sends it.  Headers hold patient data, so a message is never
logged or shown by monitoring: `summary` is what may be.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.common.errors import GantryError
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


class MalformedEvent(GantryError):
    """A message on the queue is not an event of a known kind and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesStored:
    """Originals became durable; sent by intake and, for what was never indexed, by the sweeper."""

    instances: tuple[StoredInstance, ...]

    @property
    def summary(self) -> str:
        """What logs and monitoring may show: a count and the first key."""
        return _summary(self.instances)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancesIndexed:
    """The catalog serves these instances; sent by index after its transaction has committed."""

    instances: tuple[IndexedInstance, ...]

    @property
    def summary(self) -> str:
        """What logs and monitoring may show: a count and the first key."""
        return _summary(self.instances)


Event = InstancesStored | InstancesIndexed


def _summary(instances: Sequence[StoredInstance | IndexedInstance]) -> str:
    return f"instances={len(instances)} first={instances[0].blob.key if instances else '-'}"


INDEX_TASK = "gantry.index.instances_stored"
TRANSCODE_TASK = "gantry.transcode.instances_indexed"

_ROUTES: Mapping[type, tuple[str, str]] = {
    InstancesStored: ("index", INDEX_TASK),
    InstancesIndexed: ("transcode", TRANSCODE_TASK),
}


def queue_of(event: Event) -> str:
    """The queue whose workers take this kind of event."""
    return _ROUTES[type(event)][0]


def task_of(event: Event) -> str:
    """The name of the task that takes this kind of event."""
    return _ROUTES[type(event)][1]


def singly(event: Event) -> list[Event]:
    """The same news, an instance at a time."""
    match event:
        case InstancesStored():
            return [InstancesStored(instances=(stored,)) for stored in event.instances]
        case InstancesIndexed():
            return [InstancesIndexed(instances=(indexed,)) for indexed in event.instances]


def to_json(event: Event) -> str:
    """The event as one line of JSON."""
    match event:
        case InstancesStored():
            body = {"kind": "instances_stored", "v": 1, "instances": [_stored(i) for i in event.instances]}
        case InstancesIndexed():
            body = {"kind": "instances_indexed", "v": 1, "instances": [_indexed(i) for i in event.instances]}
    return json.dumps(body, separators=(",", ":"))


def from_json(text: str) -> Event:
    """The event that `text` holds.

    Raises:
        MalformedEvent: it is no JSON, of an unknown kind or version, or lacks a field.
    """
    try:
        body = json.loads(text)
        match body["kind"], body["v"]:
            case "instances_stored", 1:
                return InstancesStored(instances=tuple(_to_stored(i) for i in body["instances"]))
            case "instances_indexed", 1:
                return InstancesIndexed(instances=tuple(_to_indexed(i) for i in body["instances"]))
            case kind, version:
                raise MalformedEvent(f"no event {kind!r} of version {version!r} is known")
    except (KeyError, TypeError, ValueError, zlib.error) as exc:
        raise MalformedEvent(f"{type(exc).__name__} in an event of {len(text)} characters") from exc


def _blob(ref: BlobRef) -> list[Any]:
    return [ref.bucket, ref.key, ref.offset, ref.length]


def _to_blob(value: Sequence[Any]) -> BlobRef:
    bucket, key, offset, length = value
    return BlobRef(bucket=bucket, key=key, offset=offset, length=length)


def _key(key: InstanceKey) -> list[str]:
    return [key.study_instance_uid, key.series_instance_uid, key.sop_instance_uid]


def _to_key(value: Sequence[str]) -> InstanceKey:
    study, series, sop = value
    return InstanceKey(study_instance_uid=study, series_instance_uid=series, sop_instance_uid=sop)


def _stored(stored: StoredInstance) -> dict[str, Any]:
    return {
        "key": _key(stored.key),
        "sop_class": stored.sop_class_uid,
        "syntax": stored.transfer_syntax_uid,
        "blob": _blob(stored.blob),
        "data_set_offset": stored.data_set_offset,
        "digests": [stored.digests.data_set, stored.digests.file],
        "received_at": stored.received_at.astimezone(UTC).isoformat(),
        "source": [
            stored.source.route.value,
            stored.source.calling_aet,
            stored.source.called_aet,
            stored.source.default_issuer,
        ],
        "header": [
            stored.header.version,
            stored.header.covers,
            base64.b64encode(zlib.compress(stored.header.content, 1)).decode("ascii"),
        ],
    }


def _to_stored(value: Mapping[str, Any]) -> StoredInstance:
    data_set, file = value["digests"]
    route, calling, called, issuer = value["source"]
    version, covers, content = value["header"]
    return StoredInstance(
        key=_to_key(value["key"]),
        sop_class_uid=value["sop_class"],
        transfer_syntax_uid=value["syntax"],
        blob=_to_blob(value["blob"]),
        data_set_offset=value["data_set_offset"],
        digests=Digests(data_set=data_set, file=file),
        received_at=datetime.fromisoformat(value["received_at"]),
        source=Source(route=Route(route), calling_aet=calling, called_aet=called, default_issuer=issuer),
        header=CapturedHeader(
            version=version, covers=covers, content=zlib.decompress(base64.b64decode(content))
        ),
    )


def _indexed(indexed: IndexedInstance) -> dict[str, Any]:
    return {
        "key": _key(indexed.key),
        "sop_class": indexed.sop_class_uid,
        "syntax": indexed.transfer_syntax_uid,
        "blob": _blob(indexed.blob),
        "data_set_offset": indexed.data_set_offset,
        "digest": indexed.data_set_digest,
    }


def _to_indexed(value: Mapping[str, Any]) -> IndexedInstance:
    return IndexedInstance(
        key=_to_key(value["key"]),
        sop_class_uid=value["sop_class"],
        transfer_syntax_uid=value["syntax"],
        blob=_to_blob(value["blob"]),
        data_set_offset=value["data_set_offset"],
        data_set_digest=value["digest"],
    )
