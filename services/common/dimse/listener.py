"""The listening socket and the processes that share it: a parent that supervises, children that accept."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from prometheus_client import multiprocess

from services.common import logs
from services.common.dimse.acceptor import Acceptor
from services.common.parent import die_with_parent

_log = logs.get(__name__)

BACKLOG = 512
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_HEALTHY_SECONDS = 10.0
"""A child that lived so long is started again at once when it dies."""
_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def bind(host: str, port: int) -> socket.socket:
    """Listen; port 0 takes a free one.  Children inherit the socket.

    Raises:
        OSError: the address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def serve_until_terminated(
    acceptor: Acceptor, *listening: socket.socket, secure: Collection[socket.socket] = ()
) -> None:
    """Serve in this process's main thread; SIGTERM drains."""
    signal.signal(signal.SIGTERM, lambda *_: acceptor.drain())
    acceptor.serve(*listening, secure=secure)


@dataclass(slots=True)
class _Child:
    target: Callable[[], None]
    index: int | None
    pid: int = 0
    pidfd: int = -1
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0


class _Supervisor:
    """Keeps the children running until it is told to end them."""

    def __init__(
        self, children: Sequence[_Child], died: Callable[[int], None], ending: Callable[[], object]
    ) -> None:
        self._children = children
        self._died = died
        self._told_to_end = ending
        self._ending = False

    def run(self) -> None:
        before = {number: signal.signal(number, self._end) for number in _SIGNALS}
        try:
            for child in self._children:
                self._start(child)
            while any(child.pid for child in self._children) or not self._ending:
                self._wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, *_: object) -> None:
        if not self._ending:
            self._ending = True
            self._told_to_end()
        for child in self._children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    def _start(self, child: _Child) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has handlers of its own it must not run the parent's, which kill its siblings.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._ending:
                return
            pid = os.fork()
            if pid == 0:
                _be_child(child.target, parent)
            child.pid, child.started, child.due = pid, time.monotonic(), 0.0
            child.pidfd = os.pidfd_open(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _wait(self) -> None:
        """Until a child dies or one is due to be started again, for at most a second."""
        poll = select.poll()
        for child in self._children:
            if child.pid:
                poll.register(child.pidfd, select.POLLIN)
        dead = {descriptor for descriptor, _ in poll.poll(200)}
        for child in self._children:
            if child.pid and child.pidfd in dead:
                self._reap(child)
            elif not child.pid and not self._ending and time.monotonic() >= child.due:
                self._start(child)

    def _reap(self, child: _Child) -> None:
        pid, child.pid = child.pid, 0
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(child.pidfd)
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        if child.index is not None:
            self._died(child.index)
        if self._ending:
            return
        lived = time.monotonic() - child.started
        child.pause = 0.0 if lived > _HEALTHY_SECONDS else _longer(child.pause)
        child.due = time.monotonic() + child.pause
        _log.error("child_died", pid=pid, exit_code=code, lived_s=round(lived, 1), restart_in_s=child.pause)


def run_processes(
    count: int,
    target: Callable[[int], None],
    *,
    beside: Sequence[Callable[[], None]] = (),
    died: Callable[[int], None] = lambda _: None,
    ending: Callable[[], object] = lambda: None,
) -> None:
    """Fork `count` children that run ``target(index)``, and one for each of `beside`; supervise them.

    A child that dies is started again, soon or with growing pauses; `died(index)` is told before.
    SIGTERM or SIGINT ends the children by SIGTERM; returns when all have ended.  `ending` is called then,
    in the signal handler: close a listening socket there, or peers go on to connect to nobody.  Children
    get SIGTERM too when this process dies.  Call it in the main thread of a process without others.
    """
    children = [_Child(target=lambda i=index: target(i), index=index) for index in range(count)]  # type: ignore[misc]
    children += [_Child(target=one, index=None) for one in beside]
    _Supervisor(children, died, ending).run()


def _longer(pause: float) -> float:
    return min(pause * 2 or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)


def _be_child(target: Callable[[], None], parent: int) -> None:
    """Run `target` and leave the process; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if os.getppid() == parent:
            target()
            code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may run on in a forked child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
