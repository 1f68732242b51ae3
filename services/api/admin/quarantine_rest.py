"""The quarantine over REST: what was refused or given up, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from services.api.admin.wording import tag_name
from services.api.dependencies import Archive, Here
from services.common.intake.retry import retry
from services.common.model import QuarantineEntry

router = APIRouter(prefix="/api/quarantine", tags=["Quarantine"])


class EntryBody(BaseModel):
    """Something that was refused or given up."""

    id: str
    kind: str = Field(description="`instance`, or the name of the task that gave up.")
    reason: str
    tag: str = Field(description="The element to blame, where it is a single one.", examples=["(0020,000D)"])
    held_at: datetime
    bytes: int | None = Field(description="How many bytes are held; null where there are none.")
    payload: str = Field(description="JSON: what the sender said, or the task's event.")


class RetryResult(BaseModel):
    """What came of taking an entry in again."""

    outcome: str


@router.get("")
def list_entries(
    archive: Here,
    after: Annotated[str, Query(description="The id behind which to go on.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[EntryBody]:
    """Entries, oldest first."""
    return [_body(entry) for entry in archive.quarantine.entries(after=after, limit=limit)]


@router.get("/{entry_id}")
def get_entry(entry_id: str, archive: Here) -> EntryBody:
    """One entry."""
    return _body(archive.quarantine.get(entry_id))


@router.post("/{entry_id}/retry")
def retry_entry(entry_id: str, archive: Here) -> RetryResult:
    """Take in again what an entry holds; it is released once that has worked."""
    return RetryResult(outcome=try_again(archive, entry_id))


def try_again(archive: Archive, entry_id: str) -> str:
    """Take in again what an entry holds; gives a sentence that says what came of it.

    Raises:
        NotFound: there is no such entry.
        NotAcceptable: the entry holds nothing that could be tried again.
        InvalidInstance: its bytes are refused once more.
    """
    return retry(
        entry_id,
        intake=archive.intake,
        store=archive.store,
        bus=archive.bus,
        quarantine=archive.quarantine,
    )


def _body(entry: QuarantineEntry) -> EntryBody:
    return EntryBody(
        id=entry.entry_id,
        kind=entry.kind,
        reason=entry.reason,
        tag=tag_name(entry.tag).partition(" ")[0],
        held_at=entry.held_at,
        bytes=entry.blob.length if entry.blob else None,
        payload=entry.payload,
    )
