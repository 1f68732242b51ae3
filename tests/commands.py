"""``gantry`` as an operator runs it from a shell beside a running archive."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from tests.archive import Archive

_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command said, and its exit status."""

    status: int
    out: str
    errors: str


def gantry(archive: Archive, *arguments: object, **settings: str) -> Done:
    """Run a command to its end, with nothing but pipes for a terminal."""
    return run(dict(archive.environment) | settings, *arguments)


def run(environment: Mapping[str, str], *arguments: object) -> Done:
    """Run a command to its end, with these environment variables alone."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(status=done.returncode, out=done.stdout, errors=done.stderr)


def on_a_terminal(archive: Archive, *arguments: object, columns: int) -> Done:
    """Run a command to its end on a terminal so many columns wide; `out` is all that it shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {**archive.environment, "TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", *map(str, arguments)],
        env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return Done(status=process.wait(timeout=_SECONDS), out=shown.decode(), errors="")
