"""Starts children in order, keeps them alive, and stops them in the other order."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from types import FrameType, TracebackType

from services.common import logs
from services.common.errors import Unavailable
from services.embedded.keeper import Keeper
from services.embedded.process import ChildSpec

# A terminal and a wrapper such as make may both pass on one Ctrl-C.
SAME_REQUEST_SECONDS = 0.5

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = logs.get(__name__)


class StopRequested(BaseException):
    """A signal asked the supervisor to stop while it was starting something."""


class Supervisor:
    """Owns the children of this process; a context that stops them all when it is left.

    It lives in the main thread and blocks there, in :meth:`start` and :meth:`run`, while it looks after
    everything that was started before::

        with Supervisor() as supervisor:
            supervisor.start(postgres.child_spec())
            migrate(postgres.settings)
            supervisor.start(api)
            supervisor.run()

    The first SIGINT, SIGTERM or SIGHUP ends :meth:`run`, or ends the block where :meth:`start` waits; the
    next one hurries the stopping.
    """

    def __init__(self) -> None:
        self._keepers: list[Keeper] = []
        self._requests = 0
        self._last_request = 0.0

    def __enter__(self) -> Supervisor:
        self._undo = contextlib.ExitStack()
        self._selector = self._undo.enter_context(selectors.DefaultSelector())
        receiving, sending = socket.socketpair()
        for end in (receiving, sending):
            end.setblocking(False)
            self._undo.enter_context(end)
        self._selector.register(receiving, selectors.EVENT_READ)
        before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, before)
        self._handle(signal.SIGCHLD, lambda _number, _frame: None)
        for number in _STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's background job
                self._handle(number, self._on_stop_signal)
        return self

    def _handle(self, number: signal.Signals, handler: signal._HANDLER) -> None:
        self._undo.callback(signal.signal, number, signal.signal(number, handler))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with self._undo:
            self.stop()
        return isinstance(error, StopRequested)

    @property
    def ready(self) -> dict[str, bool]:
        """Every child by its name, and whether it is up and ready."""
        return {keeper.spec.name: keeper.is_ready for keeper in self._keepers}

    @property
    def stop_requested(self) -> bool:
        """Whether a signal has asked to stop."""
        return self._requests > 0

    def start(self, spec: ChildSpec) -> None:
        """Start a child and wait until it is ready.

        Raises Unavailable, with the end of the child's output, when it ends first or its start stalls: what
        cannot start once is not tried for ever.
        """
        try:
            keeper = Keeper(spec)
        except Unavailable:
            if self.stop_requested:  # a terminal's Ctrl-C may have hit what prepares the child, too
                raise StopRequested from None
            raise
        self._keepers.append(keeper)
        while not keeper.is_ready:
            self.turn()
            if self.stop_requested:
                raise StopRequested
            if keeper.failure:
                raise Unavailable(keeper.failure)

    def run(self) -> None:
        """Look after the children until a signal asks to stop."""
        while not self.stop_requested:
            self.turn()

    def stop(self) -> None:
        """Stop all children, those of the highest stage first, and wait until they have gone.

        Within a stage all are asked at once, the youngest first; earlier stages are looked after meanwhile.
        """
        requests = self._requests
        for stage in sorted({keeper.spec.stage for keeper in self._keepers}, reverse=True):
            stopping = [keeper for keeper in reversed(self._keepers) if keeper.spec.stage == stage]
            for keeper in stopping:
                keeper.begin_stop()
            while stopping := [keeper for keeper in stopping if not keeper.has_stopped()]:
                self.turn()
                if self._requests > requests:
                    for keeper in stopping:
                        keeper.hurry()
        self._keepers.clear()

    def turn(self, longest: float = 60.0) -> None:
        """Sleep until something may have happened, `longest` seconds at most, then look at every child.

        One step of :meth:`run`, for a caller who has something of his own to do now and then.
        """
        patience = min((keeper.patience_seconds for keeper in self._keepers), default=longest)
        for key, _ in self._selector.select(min(patience, longest)):
            with contextlib.suppress(BlockingIOError):
                os.read(key.fd, 4096)
        for keeper in self._keepers:
            keeper.look()

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._requests == 0 or now - self._last_request > SAME_REQUEST_SECONDS:
            self._requests += 1
            _log.info("stop_requested", signal=signal.Signals(number).name, times=self._requests)
        self._last_request = now
