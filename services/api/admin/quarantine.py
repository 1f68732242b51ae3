"""The quarantine as pages: what is held, why, and another try."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response

from services.api.admin.page import PageRoute, page
from services.api.admin.quarantine_rest import try_again
from services.api.dependencies import Archive, Here
from services.common.errors import InvalidInstance, NotAcceptable

SHOWN = 50

router = APIRouter(prefix="/quarantine", route_class=PageRoute, include_in_schema=False)


@router.get("")
def quarantine(request: Request, archive: Here, after: str = "") -> Response:
    """What is held, oldest first."""
    return _list(request, archive, after=after)


@router.get("/{entry_id}")
def entry(request: Request, entry_id: str, archive: Here) -> Response:
    """One entry whole."""
    return _entry(request, archive, entry_id)


@router.post("/{entry_id}/retry")
def retry(request: Request, entry_id: str, archive: Here) -> Response:
    """Take in again what an entry holds, and say what came of it."""
    try:
        said = try_again(archive, entry_id)
    except (InvalidInstance, NotAcceptable) as refusal:
        return _entry(request, archive, entry_id, fault=str(refusal))
    return _list(request, archive, said=said)


def _list(request: Request, archive: Archive, *, after: str = "", said: str = "") -> Response:
    found = archive.quarantine.entries(after=after, limit=SHOWN + 1)
    values: dict[str, object] = {
        "entries": found[:SHOWN],
        "after": after,
        "next": found[SHOWN - 1].entry_id if len(found) > SHOWN else None,
        "said": said,
    }
    return page(request, "quarantine.html", values)


def _entry(request: Request, archive: Archive, entry_id: str, *, fault: str = "") -> Response:
    held = archive.quarantine.get(entry_id)
    values: dict[str, object] = {"entry": held, "payload": _readable(held.payload), "fault": fault}
    return page(request, "quarantine_entry.html", values)


def _readable(payload: str) -> str:
    """JSON with its lines broken; what is none, as it is."""
    try:
        return json.dumps(json.loads(payload), ensure_ascii=False, indent=2)
    except ValueError:
        return payload
