"""``gantry``: one subcommand per service, and what an operator does from a shell.

A command imports its service when it runs, so that none pays for the others.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from services.common.errors import GantryError, Unavailable, UnknownNode
from services.common.settings import CommonSettings, LogSettings

if TYPE_CHECKING:
    from services.common.nodes import NodeRegistry
    from services.common.ports import NodeRules, Quarantine

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show what variables hold, patient data too
    help="A PACS that a hospital runs as a fleet of small services.",
)
nodes_app = typer.Typer(no_args_is_help=True, help="The remote AEs that this archive knows.")
quarantine_app = typer.Typer(no_args_is_help=True, help="What was refused or given up, and why.")
app.add_typer(nodes_app, name="nodes")
app.add_typer(quarantine_app, name="quarantine")

_out = Console(highlight=False)
_errors = Console(highlight=False, stderr=True)
_MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
_FileDescriptor = Annotated[int | None, typer.Option(help="Serve on this inherited listening socket.")]


def main() -> None:
    """Run ``gantry``; an error that has a name is one line and exit code 1."""
    try:
        app()
    except GantryError as error:
        sys.exit(f"gantry: {error}")
    except SettingsError as error:
        example = "GANTRY_HTTP__ALLOWED_HOSTS='[\"pacs\"]'"
        sys.exit(f"gantry: {error}: a list is written as JSON, such as {example}")
    except ValidationError as error:
        first = error.errors()[0]
        name = "GANTRY_" + "__".join(str(part) for part in first["loc"]).upper()
        sys.exit(f"gantry: {name}: {first['msg']}")


@app.command()
def up() -> None:
    """Run the whole archive on this machine, in the foreground."""
    settings = CommonSettings()
    data_dir = settings.data_dir.expanduser().absolute()
    counts = data_dir / "metrics"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        counts.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise Unavailable(f"the data folder {data_dir} cannot be made: {exc.strerror}") from exc
    # Read when the metrics are made, which is when modules that count are imported.
    os.environ[_MULTIPROC_DIR] = str(counts)
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
    with _counted_together():
        from services.ingest.__main__ import main

        main()


@app.command()
def qr() -> None:
    """Serve C-FIND, C-MOVE and C-GET, and C-STORE for associations that mix them."""
    with _counted_together():
        from services.qr.__main__ import main

        main()


@app.command()
def index() -> None:
    """Fill the catalog from the queue."""
    with _counted_together():
        from services.index.__main__ import main

        main()


@app.command()
def transcode() -> None:
    """Make renditions and thumbnails from the queue."""
    with _counted_together():
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
        typer.echo(f"applied {name}")


@app.command(name="import")
def import_(paths: Annotated[list[Path], typer.Argument(help="Files and folders.")]) -> None:
    """Take files and folders into the archive, and say what became of them."""
    from services.common.model import Route, Source
    from services.ingest.importing import Imported, Outcome, files_below, import_files
    from services.ingest.wiring import importing

    files = list(files_below(paths))
    counts: Counter[Outcome] = Counter()
    not_taken: list[Imported] = []
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            _beside_the_archive() as settings,
            importing(settings) as (intake, catalog),
            Progress(*columns, console=_errors, disable=not _errors.is_terminal) as progress,
        ):
            source = Source(route=Route.IMPORT, calling_aet="", called_aet=settings.dicom.ae_title)
            for imported in progress.track(import_files(files, intake, catalog, source), total=len(files)):
                counts[imported.outcome] += 1
                if imported.reason:
                    not_taken.append(imported)
    finally:
        for imported in not_taken:
            typer.echo(f"{imported.outcome.value}: {_printable(imported.path)}: {imported.reason}")
        if counts or not files:
            typer.echo(", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome))
    if counts[Outcome.REFUSED]:
        raise typer.Exit(1)


@nodes_app.command("list")
def nodes_list() -> None:
    """List the nodes."""
    rows = [
        (node.aet, node.host, str(node.port), node.description, node.default_issuer)
        for node in _nodes().all()
    ]
    _list(("AE title", "host", "port", "description", "issuer"), rows)


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
    typer.echo(f"{kept.aet} is {kept.host}:{kept.port}")


@nodes_app.command("remove")
def nodes_remove(aet: str) -> None:
    """Remove a node."""
    _registry().remove(aet)
    typer.echo(f"{aet} is removed")


@nodes_app.command("echo")
def nodes_echo(aet: str) -> None:
    """Send a C-ECHO to a node."""
    from services.common.dimse.echo import echo

    node = _nodes().find(aet)
    if node is None:
        raise UnknownNode(f"no node {aet} is known")
    milliseconds = echo(node, _commanding().dicom.ae_title)
    typer.echo(f"{node.aet} answered after {milliseconds:.0f} ms")


@quarantine_app.command("list")
def quarantine_list(after: str = "", limit: int = 100) -> None:
    """List what is held, oldest first."""
    entries = _quarantine().entries(after=after, limit=limit)
    rows = [
        (entry.entry_id, f"{entry.held_at:%Y-%m-%d %H:%M:%S}", entry.kind, _tag(entry.tag), entry.reason)
        for entry in entries
    ]
    _list(("id", "held at", "kind", "tag", "reason"), rows)
    if len(rows) == limit:
        typer.echo(f"there may be more: --after {rows[-1][0]}", err=True)


@quarantine_app.command("show")
def quarantine_show(entry_id: str) -> None:
    """Show one entry whole."""
    entry = _quarantine().get(entry_id)
    typer.echo(f"{entry.kind}: {entry.reason}")
    typer.echo(f"held at {entry.held_at:%Y-%m-%d %H:%M:%S} UTC")
    if entry.blob:
        typer.echo(f"bytes: {entry.blob.length} in {entry.blob.bucket}/{entry.blob.key}")
    typer.echo(entry.payload)


@quarantine_app.command("retry")
def quarantine_retry(entry_id: str) -> None:
    """Take in again what an entry holds; it is released once that has worked."""
    from services.ingest.wiring import retrying

    with _beside_the_archive() as settings, retrying(settings) as retry:
        typer.echo(retry(entry_id))


@contextmanager
def _counted_together() -> Iterator[None]:
    """Have the processes of one service add up what they count, so that any one of them can tell.

    It comes before the import of modules that count.
    """
    if _MULTIPROC_DIR in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="gantry-metrics-") as folder:
        os.environ[_MULTIPROC_DIR] = folder
        yield


def _list(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table on a terminal, its first column whole; elsewhere a line per row, values between tabs."""
    if not _out.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    longest = max((len(row[0]) for row in rows), default=0)
    first, *others = names
    table = Table(Column(first, no_wrap=True, min_width=longest), *others)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: no markup, whoever wrote it
    _out.print(table)


def _tag(tag: int | None) -> str:
    return "" if tag is None else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _printable(path: Path) -> str:
    """A path in one line of text, whatever bytes its names are made of."""
    name = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def _reaching() -> CommonSettings:
    """Settings that reach the servers of `gantry up` on this data folder, unless they name others."""
    from services.up import embedded

    return embedded(_commanding())


def _commanding() -> CommonSettings:
    """Settings for a command of an operator, who is told what matters and reads no log beside it."""
    from services.common import logs

    settings = CommonSettings()
    quiet = LogSettings(level="ERROR", form="console")
    logs.configure(settings.log if "log" in settings.model_fields_set else quiet, "command")
    return settings


@contextmanager
def _beside_the_archive() -> Iterator[CommonSettings]:
    """The settings for what needs the servers of a running archive."""
    try:
        yield _reaching()
    except Unavailable as exc:
        raise Unavailable(f"{exc}; the archive has to run for this (gantry up)") from exc


def _registry() -> NodeRegistry:
    from services.common.adapters.stores import open_store
    from services.common.journal import StoreJournal
    from services.common.nodes import NodeRegistry

    store = open_store(_commanding())
    return NodeRegistry(store, StoreJournal(store))


def _nodes() -> NodeRules:
    from services.common.adapters.stores import open_store
    from services.common.nodes import StoredNodeRules

    return StoredNodeRules(open_store(_commanding()))


def _quarantine() -> Quarantine:
    from services.common.adapters.stores import open_store
    from services.common.quarantine import StoreQuarantine

    return StoreQuarantine(open_store(_commanding()))


def _inherited(fd: int | None) -> socket.socket | None:
    """The socket that a parent bound and left open under this number."""
    return None if fd is None else socket.socket(fileno=fd)


if __name__ == "__main__":
    main()
