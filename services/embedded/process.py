"""One supervised child process: what it is, and its life from start to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.common.errors import Unavailable
from services.embedded.account import Account

_WRAPPER = Path(__file__).with_name("child.py")
_LOG_LIMIT_BYTES = 8 * 2**20

# What the hurry signal has not ended after this long is killed.
HURRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to run a child, to know that it is ready, and to end it.

    `prepare` runs before every start.  `ready` must answer within a second or so; None means ready at once.
    A start is given up after `start_timeout` seconds in which neither `ready` nor the value of `progress`
    changed.  Where a start came to nothing, `repair` may change something and say that it is worth another.
    `healthy`, asked every `health_interval` seconds, finds a child that lives but does not work: after three
    times False in a row it is stopped and started again.

    Children of a higher `stage` are stopped before those of a lower one.  To stop one it gets `stop_signal`,
    after `stop_timeout` seconds (or at a second Ctrl-C) `hurry_signal`, and 5 s later SIGKILL.
    `death_signal` is what the kernel sends it when the supervisor itself is killed.  `output` is a file for
    its standard output and error; None lets it write to the supervisor's.  `keep_fds` are inherited.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    progress: Callable[[], object] | None = None
    start_timeout: float = 60.0
    repair: Callable[[], bool] | None = None
    healthy: Callable[[], bool] | None = None
    health_interval: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 30.0
    hurry_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGKILL
    restart: bool = True
    stage: int = 1
    prepare: Callable[[], None] | None = None
    output: Path | None = None
    account: Account | None = None
    keep_fds: tuple[int, ...] = ()


def wrapped(argv: Sequence[str], *, account: Account | None, death_signal: signal.Signals) -> list[str]:
    """The command that runs `argv` as `account` and bound to this process's life."""
    user = f"{account.uid}:{account.gid}" if account and account.dropped else "-"
    wrapper = (sys.executable, "-I", "-S", str(_WRAPPER))
    return [*wrapper, str(os.getpid()), str(int(death_signal)), user, *argv]


class Child:
    """A running program in a session of its own, so that the terminal's Ctrl-C does not reach it."""

    def __init__(self, spec: ChildSpec) -> None:
        """Start the program; from the main thread only, for a child ends with the thread that made it."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread")
        self.spec = spec
        try:
            if spec.prepare:
                spec.prepare()
            self._process = self._spawn()
        except OSError as exc:
            raise Unavailable(f"{spec.name} cannot be started: {exc}") from exc
        self.started = time.monotonic()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(_open_log(self.spec.output)) if self.spec.output else None
            return subprocess.Popen(
                wrapped(self.spec.argv, account=self.spec.account, death_signal=self.spec.death_signal),
                env=self.spec.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                pass_fds=self.spec.keep_fds,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is its session's and its process group's too."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status once it has ended (negative: the signal that ended it), else None.

        What it left of its process group is killed, while its own pid still keeps the group's number taken.
        """
        if self._process.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal it; SIGKILL goes to its whole process group.  Nothing happens once it has ended."""
        if self.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def wait_ready(self) -> None:
        """Wait until it is ready, as long as its start advances; raises Unavailable otherwise."""
        progress = Progress(self.spec)
        while not (self.spec.ready is None or self.spec.ready()):
            status = self.poll()
            if status is not None:
                raise Unavailable(ended_early(self.spec, status))
            if progress.stalled():
                self.stop(at_once=True)
                raise Unavailable(f"{self.spec.name} did not become ready{_tail(self.spec.output)}")
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> int:
        """End it, as gently as it lets us unless it must be `at_once`; the exit status."""
        steps = [(self.spec.stop_signal, self.spec.stop_timeout), (self.spec.hurry_signal, HURRY_SECONDS)]
        for number, seconds in steps[1:] if at_once else steps:
            self.send(number)
            give_up = time.monotonic() + seconds
            while time.monotonic() < give_up:
                if (status := self.poll()) is not None:
                    return status
                time.sleep(0.02)
        self.send(signal.SIGKILL)
        return self._process.wait()


def start(spec: ChildSpec) -> Child:
    """Start a child that no supervisor looks after, and wait until it is ready; raises Unavailable."""
    while True:
        child = Child(spec)
        try:
            child.wait_ready()
        except Unavailable:
            if spec.repair and spec.repair():
                continue
            raise
        return child


class Progress:
    """Watches whether the start of a child advances."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._last = spec.progress() if spec.progress else None
        self._changed = time.monotonic()

    def stalled(self) -> bool:
        """Whether nothing has moved for the child's `start_timeout`."""
        now = time.monotonic()
        if self._spec.progress and (current := self._spec.progress()) != self._last:
            self._last, self._changed = current, now
        return now - self._changed > self._spec.start_timeout


def ended_early(spec: ChildSpec, status: int) -> str:
    """One sentence on a child that ended before it was ready, with the end of what it wrote."""
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"{spec.name} {how} before it was ready{_tail(spec.output)}"


def _tail(output: Path | None) -> str:
    """The last lines of a child's output, to follow a sentence."""
    if output is None:
        return ""
    with output.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 2048))
        lines = log.read().decode("utf-8", "replace").splitlines()[-8:]
    return "".join(f"\n  {line}" for line in (f"(from {output})", *lines))


def _open_log(output: Path) -> BinaryIO:
    """Open a log to append to; one that has grown large becomes the one old log that is kept."""
    output.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if output.stat().st_size > _LOG_LIMIT_BYTES:
            output.replace(output.with_suffix(".old.log"))
    return open(output, "ab", buffering=0, opener=lambda path, flags: os.open(path, flags, 0o600))
