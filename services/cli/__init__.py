"""``gantry``: one subcommand per service, and what an operator does from a shell.

A command imports its service when it runs, so that none pays for the others.
"""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.cli import conflicts, importing, nodes, quarantine, sending, serving
from services.common.errors import GantryError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show what variables hold, patient data too
    help="A PACS that a hospital runs as a fleet of small services.",
)
app.add_typer(serving.app)
app.add_typer(importing.app)
app.add_typer(sending.app)
app.add_typer(conflicts.app)
app.add_typer(nodes.app, name="nodes")
app.add_typer(quarantine.app, name="quarantine")


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
