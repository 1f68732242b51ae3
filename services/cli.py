"""``gantry``: one subcommand per service, and what an operator does from a shell.

A command imports its service when it runs, so that none pays for the others.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.common.errors import GantryError, UnknownNode
from services.common.settings import CommonSettings

if TYPE_CHECKING:
    from services.common.nodes import NodeRegistry
    from services.common.ports import NodeRules, Quarantine

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A PACS that a hospital runs as a fleet of small services.",
)
nodes_app = typer.Typer(no_args_is_help=True, help="The remote AEs that this archive knows.")
quarantine_app = typer.Typer(no_args_is_help=True, help="What was refused or given up, and why.")
app.add_typer(nodes_app, name="nodes")
app.add_typer(quarantine_app, name="quarantine")

_out = Console(highlight=False)
_FileDescriptor = Annotated[int | None, typer.Option(help="Serve on this inherited listening socket.")]


def main() -> None:
    """Run ``gantry``; an error that has a name is one line and exit code 1."""
    try:
        app()
    except GantryError as error:
        sys.exit(f"gantry: {error}")
    except ValidationError as error:
        first = error.errors()[0]
        name = "GANTRY_" + "__".join(str(part) for part in first["loc"]).upper()
        sys.exit(f"gantry: {name}: {first['msg']}")


@app.command()
def up() -> None:
    """Run the whole archive on this machine, in the foreground."""
    settings = CommonSettings()
    counts = settings.data_dir.expanduser().absolute() / "run" / "metrics"
    settings.data_dir.expanduser().mkdir(mode=0o700, parents=True, exist_ok=True)
    counts.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Read when the metrics are made, which is when modules that count are imported.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)
    from services.up import up

    up(settings)


@app.command(hidden=True)
def listen(fd: _FileDescriptor = None) -> None:
    """Serve ingest and Q/R on one DIMSE listener."""
    from services.up import listen

    listen(CommonSettings(), _inherited(fd))


@app.command()
def ingest() -> None:
    """Serve C-STORE."""
    from services.ingest.__main__ import main

    main()


@app.command()
def qr() -> None:
    """Serve C-FIND, C-MOVE and C-GET, and C-STORE for associations that mix them."""
    from services.qr.__main__ import main

    main()


@app.command()
def index() -> None:
    """Fill the catalog from the queue."""
    from services.index.__main__ import main

    main()


@app.command()
def transcode() -> None:
    """Make renditions and thumbnails from the queue."""
    from services.transcode.__main__ import main

    main()


@app.command()
def sweep() -> None:
    """Tell again of what never reached the catalog."""
    from services.index.sweep import main

    main()


@app.command()
def api(fd: _FileDescriptor = None) -> None:
    """Serve DICOMweb, WADO and the pages."""
    from services.api.__main__ import main

    main(listening=_inherited(fd))


@app.command()
def migrate() -> None:
    """Make the bucket if it is missing, and bring the catalog's schema up to date."""
    from services.common.adapters.postgres import Postgres
    from services.common.adapters.stores import prepare_store
    from services.common.catalog.migrate import migrate

    settings = _reaching()
    prepare_store(settings)
    for name in migrate(Postgres(settings.postgres)):
        _out.print(f"applied {name}")


@app.command(name="import")
def import_(paths: Annotated[list[Path], typer.Argument(help="Files and folders.")]) -> None:
    """Take files and folders into the archive, and say what became of them."""
    from services.common.model import Route, Source
    from services.ingest.importing import Imported, Outcome, files_below, import_files
    from services.ingest.wiring import importing

    settings = _reaching()
    files = list(files_below(paths))
    source = Source(route=Route.IMPORT, calling_aet="", called_aet=settings.dicom.ae_title)
    counts: Counter[Outcome] = Counter()
    refused: list[Imported] = []
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with importing(settings) as (intake, catalog), Progress(*columns, console=_out) as progress:
        for imported in progress.track(import_files(files, intake, catalog, source), total=len(files)):
            counts[imported.outcome] += 1
            if imported.reason:
                refused.append(imported)
    for imported in refused:
        _out.print(f"{imported.outcome.value}: {imported.path}: {imported.reason}", markup=False)
    _out.print(", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome))
    if counts[Outcome.REFUSED]:
        raise typer.Exit(1)


@nodes_app.command("list")
def nodes_list() -> None:
    """List the nodes."""
    table = Table("AE title", "host", "port", "description", "issuer")
    for node in _nodes().all():
        table.add_row(node.aet, node.host, str(node.port), node.description, node.default_issuer)
    _out.print(table)


@nodes_app.command("add")
def nodes_add(
    aet: Annotated[str, typer.Argument(help="Its AE title.")],
    host: Annotated[str, typer.Argument(help="Its host name or address.")],
    port: Annotated[int, typer.Argument(help="Its DICOM port.")],
    description: str = "",
    default_issuer: Annotated[str, typer.Option(help="Issuer of the patient IDs that it sends.")] = "",
    transfer_syntax: Annotated[
        list[str] | None, typer.Option(help="UID of a transfer syntax that it is offered; best first.")
    ] = None,
) -> None:
    """Add a node."""
    from services.common.model import Node

    node = Node(
        aet=aet,
        host=host,
        port=port,
        description=description,
        default_issuer=default_issuer,
        transfer_syntax_uids=tuple(transfer_syntax or ()),
    )
    kept = _registry().add(node)
    _out.print(f"{kept.aet} is {kept.host}:{kept.port}", markup=False)


@nodes_app.command("remove")
def nodes_remove(aet: str) -> None:
    """Remove a node."""
    _registry().remove(aet)
    _out.print(f"{aet} is removed", markup=False)


@nodes_app.command("echo")
def nodes_echo(aet: str) -> None:
    """Send a C-ECHO to a node."""
    from services.common.dimse.echo import echo

    node = _nodes().find(aet)
    if node is None:
        raise UnknownNode(f"no node {aet} is known")
    milliseconds = echo(node, CommonSettings().dicom.ae_title)
    _out.print(f"{node.aet} answered after {milliseconds:.0f} ms", markup=False)


@quarantine_app.command("list")
def quarantine_list(after: str = "", limit: int = 100) -> None:
    """List what is held, oldest first."""
    table = Table("id", "held at", "kind", "tag", "reason")
    for entry in _quarantine().entries(after=after, limit=limit):
        tag = "" if entry.tag is None else f"({entry.tag >> 16:04X},{entry.tag & 0xFFFF:04X})"
        table.add_row(entry.entry_id, f"{entry.held_at:%Y-%m-%d %H:%M:%S}", entry.kind, tag, entry.reason)
    _out.print(table)


@quarantine_app.command("show")
def quarantine_show(entry_id: str) -> None:
    """Show one entry whole."""
    entry = _quarantine().get(entry_id)
    _out.print(f"{entry.kind}: {entry.reason}", markup=False)
    if entry.blob:
        _out.print(f"bytes: {entry.blob.length} in {entry.blob.bucket}/{entry.blob.key}", markup=False)
    _out.print_json(entry.payload)


@quarantine_app.command("retry")
def quarantine_retry(entry_id: str) -> None:
    """Take in again what an entry holds; it is released once that has worked."""
    from services.ingest.wiring import retrying

    with retrying(_reaching()) as retry:
        _out.print(retry(entry_id), markup=False)


def _reaching() -> CommonSettings:
    """Settings that reach the servers of `gantry up` on this data folder, unless they name others."""
    from services.up import embedded

    return embedded(CommonSettings())


def _registry() -> NodeRegistry:
    from services.common.adapters.stores import open_store
    from services.common.journal import StoreJournal
    from services.common.nodes import NodeRegistry

    store = open_store(CommonSettings())
    return NodeRegistry(store, StoreJournal(store))


def _nodes() -> NodeRules:
    from services.common.adapters.stores import open_store
    from services.common.nodes import StoredNodeRules

    return StoredNodeRules(open_store(CommonSettings()))


def _quarantine() -> Quarantine:
    from services.common.adapters.stores import open_store
    from services.common.quarantine import StoreQuarantine

    return StoreQuarantine(open_store(CommonSettings()))


def _inherited(fd: int | None) -> socket.socket | None:
    """The socket that a parent bound and left open under this number."""
    return None if fd is None else socket.socket(fileno=fd)


if __name__ == "__main__":
    main()
