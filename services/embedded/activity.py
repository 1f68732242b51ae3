"""Whether a process is at work."""

from __future__ import annotations

import time
from pathlib import Path


def activity(pid: int | None) -> object:
    """A value that differs from the last one as long as the process or a child of its is at work.

    At work is what runs or waits for a disk, at this moment or since the last look, however long it takes.
    """
    if pid is None:
        return None
    members = [_state_and_ticks(member) for member in (pid, *_children(pid))]
    if any(state in ("R", "D") for state, _ in members):
        return time.monotonic()
    return sum(ticks for _, ticks in members)


def _children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed.split()]


def _state_and_ticks(pid: int) -> tuple[str, int]:
    """The state letter, and clock ticks as user and as kernel: fields 3, 14 and 15 of proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])
