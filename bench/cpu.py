"""What a tree of processes uses: CPU time and memory, read from ``/proc`` (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    """A process at one moment.

    `cpu_seconds` are its own and those of the children that it has waited for, so that the sum over a living
    tree loses nothing when a process of it ends.
    """

    pid: int
    parent: int
    cpu_seconds: float


def parse_stat(text: str) -> ProcessStat:
    """Read ``/proc/PID/stat``, proc(5); the name in brackets may hold blanks and brackets."""
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ProcessStat(pid=int(pid), parent=int(fields[1]), cpu_seconds=ticks / _TICKS_PER_SECOND)


def descendants(processes: Iterable[ProcessStat], roots: Sequence[int]) -> list[ProcessStat]:
    """The roots and all that descends from them, parents before children."""
    by_pid = {process.pid: process for process in processes}
    children: dict[int, list[ProcessStat]] = {}
    for process in by_pid.values():
        children.setdefault(process.parent, []).append(process)
    found = [by_pid[root] for root in roots if root in by_pid]
    for process in found:
        found.extend(children.get(process.pid, ()))
    return found


def tree(roots: Sequence[int]) -> list[ProcessStat]:
    """The living processes under the roots, and the roots."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            processes.append(parse_stat((folder / "stat").read_text("utf-8", "replace")))
        except _GONE:
            continue
    return descendants(processes, roots)


def cpu_seconds(roots: Sequence[int]) -> float:
    """The CPU time of the trees until now."""
    return sum(process.cpu_seconds for process in tree(roots))


def command_line(pid: int) -> str:
    """How the process was started; empty if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except _GONE:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()


def memory(pid: int) -> Mapping[str, int]:
    """``VmHWM`` (its peak) and ``VmRSS`` (now) in bytes; empty if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except _GONE:
        return {}
    return parse_status(lines)


def parse_status(lines: Iterable[str]) -> Mapping[str, int]:
    """The two figures of ``/proc/PID/status``, which the kernel gives in KiB."""
    pairs = (line.split(":", 1) for line in lines if line.startswith(("VmHWM:", "VmRSS:")))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}
