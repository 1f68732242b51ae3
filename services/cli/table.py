"""How a command lists things."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_out = Console(highlight=False)


def show(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
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
