"""``gantry quarantine``: what was refused or given up, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from services.cli.reach import archived, beside_the_archive, commanding
from services.cli.table import show

if TYPE_CHECKING:
    from services.common.ports import Quarantine

app = typer.Typer(no_args_is_help=True, help="What was refused or given up, and why.")


@app.command("list")
def quarantine_list(after: str = "", limit: int = 100) -> None:
    """List what is held, oldest first."""
    entries = _quarantine().entries(after=after, limit=limit)
    rows = [
        (entry.entry_id, f"{entry.held_at:%Y-%m-%d %H:%M:%S}", entry.kind, _tag(entry.tag), entry.reason)
        for entry in entries
    ]
    show(("id", "held at", "kind", "tag", "reason"), rows)
    if len(rows) == limit:
        typer.echo(f"there may be more: --after {rows[-1][0]}", err=True)


@app.command("show")
def quarantine_show(entry_id: str) -> None:
    """Show one entry whole."""
    entry = _quarantine().get(entry_id)
    typer.echo(f"{entry.kind}: {entry.reason}")
    typer.echo(f"held at {entry.held_at:%Y-%m-%d %H:%M:%S} UTC")
    if entry.blob:
        typer.echo(f"bytes: {entry.blob.length} in {entry.blob.bucket}/{entry.blob.key}")
    typer.echo(entry.payload)


@app.command("retry")
def quarantine_retry(entry_id: str) -> None:
    """Take in again what an entry holds; it is released once that has worked."""
    from services.ingest.wiring import retrying

    with beside_the_archive() as settings, retrying(settings) as retry:
        typer.echo(retry(entry_id))


def _quarantine() -> Quarantine:
    from services.common.adapters.stores import open_store
    from services.common.quarantine import StoreQuarantine

    return StoreQuarantine(open_store(archived(commanding())))


def _tag(tag: int | None) -> str:
    return "" if tag is None else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
