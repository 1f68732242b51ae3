"""``gantry import``: files and folders into the archive."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.reach import beside_the_archive

app = typer.Typer()

_terminal = Console(highlight=False, stderr=True)


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
            beside_the_archive() as settings,
            importing(settings) as (intake, catalog),
            Progress(*columns, console=_terminal, disable=not _terminal.is_terminal) as progress,
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


def _printable(path: Path) -> str:
    """A path in one line of text, whatever bytes its names are made of."""
    name = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
