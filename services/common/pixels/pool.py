"""Codec processes: where foreign pixels are touched, and what happens when one of them dies.

OpenJPEG holds the interpreter, and a broken stream may crash or stall any codec, so that processes are
used and never threads.  They are plain child processes, for a Celery worker may have no
`multiprocessing` ones; they know nothing of the parent's environment, credentials or files.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common import logs
from services.common.errors import NotAcceptable, Unavailable
from services.common.pixels import messages
from services.common.pixels.messages import Buffer, Fields

_log = logs.get(__name__)
_IMPORT_ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 60.0
_NOT_ITS_FAULT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that come from outside and say nothing about the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a codec process may take.

    `memory_bytes` bounds its address space, `job_seconds` the processor's time for one job; after `jobs` jobs
    it is replaced.  A caller waits `wait_seconds` for a free one, and `stall_seconds` for a sign of life:
    long, for on a machine that is busy a job of low priority may wait for its turn.
    """

    processes: int = 2
    memory_bytes: int = 3 * 2**30
    job_seconds: int = 60
    jobs: int = 500
    wait_seconds: float = 60.0
    stall_seconds: float = 600.0


@dataclass(slots=True, kw_only=True)
class Reply:
    """What a job gave: fields, and parts of a payload that are read one after the other."""

    fields: Fields
    lengths: tuple[int, ...]
    connection: socket.socket
    unread: int

    def read(self, part: int) -> Iterator[bytes]:
        """The bytes of a part, to be read whole and in order."""
        for piece in messages.pieces(self.connection, self.lengths[part]):
            self.unread -= len(piece)
            yield piece


@dataclass(slots=True)
class _Process:
    child: subprocess.Popen[bytes]
    connection: socket.socket
    jobs: int = 0

    def end(self) -> None:
        self.connection.close()
        self.child.kill()
        self.child.wait()


class CodecPool:
    """At most `limits.processes` codec processes, started when they are needed and kept warm.

    Threads may share a pool.  A process forked from one that used it begins anew.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._free = threading.BoundedSemaphore(self._limits.processes)
        # A child dies with the thread that started it, so that one thread starts them all and stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="codec-starter")

    @contextmanager
    def run(self, fields: Fields, length: int, payload: Iterable[Buffer]) -> Iterator[Reply]:
        """Have a job done and read its reply inside the ``with`` block.

        Raises:
            NotAcceptable: the job cannot be done: it says why, or crashed, or took too long.
            Unavailable: no process was free, or it was killed from outside.
        """
        if self._owner != os.getpid():
            self._begin()
        if self._closed:
            raise Unavailable("the codec pool is closed")
        free = self._free
        if not free.acquire(timeout=self._limits.wait_seconds):
            raise Unavailable("all codec processes are busy")
        try:
            process = self._take()
            kept = False
            try:
                reply = self._ask(process, fields, length, payload)
                yield reply
                kept = not reply.unread
            except messages.Broken as exc:
                raise self._reason(process, exc) from exc
            except _Refused as exc:
                kept = True
                raise NotAcceptable(str(exc)) from exc
            finally:
                self._give_back(process, kept)
        finally:
            free.release()

    def close(self) -> None:
        """End all processes; jobs that run fail."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()
        self._starter.shutdown(wait=False)

    def _ask(self, process: _Process, fields: Fields, length: int, payload: Iterable[Buffer]) -> Reply:
        process.jobs += 1
        messages.send(process.connection, fields, length, payload)
        answer, total = messages.receive(process.connection, limit=length + self._limits.memory_bytes)
        if answer.get("ok") is not True:
            if cause := answer.get("cause"):
                _log.info("codec_job_failed", job=fields.get("job"), cause=str(cause)[:200])
            raise _Refused(str(answer.get("reason", "it gives no reason"))[:500])
        lengths = answer.get("lengths")
        if not isinstance(lengths, list) or not all(isinstance(n, int) and n >= 0 for n in lengths):
            raise messages.Broken("an answer has no lengths")
        if sum(lengths) != total:
            raise messages.Broken("an answer contradicts itself")
        return Reply(fields=answer, lengths=tuple(lengths), connection=process.connection, unread=total)

    def _take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.child.poll() is None:
                    return process
                process.end()
        try:
            return self._starter.submit(self._start).result()
        except (OSError, RuntimeError) as exc:
            raise Unavailable("no codec process can be started") from exc

    def _give_back(self, process: _Process, kept: bool) -> None:
        if kept and process.jobs < self._limits.jobs and not self._closed:
            with self._lock:
                self._idle.append(process)
        else:
            process.end()

    def _start(self) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = self._spawn(theirs.fileno())
            except OSError:
                ours.close()
                raise
        process = _Process(child, ours)
        ours.settimeout(_START_SECONDS)
        try:
            messages.receive(ours, limit=0)
        except messages.Broken as exc:
            process.end()
            raise Unavailable("a codec process did not start") from exc
        ours.settimeout(self._limits.stall_seconds)
        return process

    def _spawn(self, connection: int) -> subprocess.Popen[bytes]:
        arguments = (connection, os.getpid(), self._limits.memory_bytes, self._limits.job_seconds)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "services.common.pixels.worker", *map(str, arguments)],
            pass_fds=[connection],
            stdin=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            # Ctrl-C in a terminal is for the parent, which then ends its children in order.
            start_new_session=True,
        )

    def _reason(self, process: _Process, broken: messages.Broken) -> NotAcceptable | Unavailable:
        try:
            code = process.child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            _log.warning("codec_process_stalled", reason=str(broken))
            return NotAcceptable("the codec process stopped answering")
        if self._closed or -code in _NOT_ITS_FAULT:
            return Unavailable("a codec process was ended from outside")
        if -code == signal.SIGPROF:
            return NotAcceptable(f"it takes more than {self._limits.job_seconds} s of the processor's time")
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return NotAcceptable(f"the codec process crashed ({cause})")


class _Refused(Exception):
    """A codec process answered that it cannot do the job."""


def _environment() -> dict[str, str]:
    single: dict[str, Any] = dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPJ_NUM_THREADS"), "1"
    )
    return {"PYTHONPATH": str(_IMPORT_ROOT), "PATH": os.defpath, "LANG": "C.UTF-8", **single}
