"""Attempts and a quarantine in a folder, shared by the processes of a test and safe against their death."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from services.common.errors import NotFound
from services.common.model import QuarantineEntry


def note(path: Path, line: str) -> None:
    """Append a line; whole, whoever else appends."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def notes(path: Path) -> list[str]:
    """The lines noted so far."""
    return path.read_text().splitlines() if path.exists() else []


class FolderAttempts:
    """A file for each open attempt, a byte long for each time it was begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, task: str, key: str) -> int:
        path = self._folder / f"attempt-{task}-{key}"
        with path.open("ab", buffering=0) as file:
            file.write(b".")
            return file.tell()

    def end(self, task: str, key: str) -> None:
        (self._folder / f"attempt-{task}-{key}").unlink(missing_ok=True)

    def open(self) -> list[str]:
        """The names of what was begun and never ended."""
        return [path.name for path in self._folder.glob("attempt-*")]


class FolderQuarantine:
    """A JSON file for each entry."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, entry: QuarantineEntry) -> None:
        content = dataclasses.asdict(entry) | {"held_at": entry.held_at.isoformat()}
        whole = self._folder / f"{entry.entry_id}.new"
        whole.write_text(json.dumps(content))
        whole.rename(self._folder / f"held-{entry.entry_id}.json")

    def entries(self, *, after: str = "", limit: int = 100) -> Sequence[QuarantineEntry]:
        found = sorted(path.stem.removeprefix("held-") for path in self._folder.glob("held-*.json"))
        return [self.get(entry_id) for entry_id in found if entry_id > after][:limit]

    def get(self, entry_id: str) -> QuarantineEntry:
        path = self._folder / f"held-{entry_id}.json"
        if not path.exists():
            raise NotFound(f"there is no entry {entry_id}")
        content = json.loads(path.read_text())
        return QuarantineEntry(**content | {"held_at": datetime.fromisoformat(content["held_at"])})

    def holding(self, digest: str) -> QuarantineEntry | None:
        return next((entry for entry in self.entries(limit=-1) if entry.digest == digest), None)

    def release(self, entry_id: str) -> None:
        (self._folder / f"held-{entry_id}.json").unlink(missing_ok=True)
