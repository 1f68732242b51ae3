"""Servers as processes that never outlive the benchmark."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.errors import NotStarted

NO_NAGLE = {"TCP_NODELAY": "1"}
"""For every program built on DCMTK, client or server: where one end lacks it, each image waits 40 ms for the
other's delayed acknowledgement."""
START_SECONDS = 90.0
STOP_SECONDS = 90.0
_IDLE_WINDOW_SECONDS = 0.5
_IDLE_SHARE = 0.06
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when it is ready until the block is left.

    Raises:
        NotStarted: it ended, or was not ready in time; the message holds the end of its log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=_die_with_parent,
        )
    try:
        _wait_until_ready(process, ready, log)
        yield process
    finally:
        _end(process, stop_signal)


def settle(roots: Sequence[int], *, seconds: float) -> bool:
    """Wait until the trees are idle, at most so long; says whether they are.

    Idle is what uses less than 6 % of one core over half a second, twice in a row: queues are drained then,
    and nothing is being transcoded.
    """
    give_up = time.monotonic() + seconds
    quiet = 0
    before = cpu_seconds(roots)
    while quiet < 2 and time.monotonic() < give_up:
        time.sleep(_IDLE_WINDOW_SECONDS)
        now = cpu_seconds(roots)
        quiet = quiet + 1 if now - before < _IDLE_SHARE * _IDLE_WINDOW_SECONDS else 0
        before = now
    return quiet >= 2


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        if ready():
            return
        time.sleep(0.05)
    raise NotStarted(f"{log.stem} did not start\n{log.read_text('utf-8', 'replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _die_with_parent() -> None:
    """Have the kernel end the server should the benchmark be killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
