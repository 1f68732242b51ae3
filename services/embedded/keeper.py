"""Keeps one child alive: starts it again when it dies, ever more slowly, and ends it when told to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from services.common import logs
from services.common.counts import Counter, Gauge
from services.common.errors import Unavailable
from services.embedded.process import HURRY_SECONDS, Child, ChildSpec, Progress, ended_early

RESTARTS = Counter("gantry_child_restarts_total", "Children that died and were started again", ["child"])
READY = Gauge("gantry_child_ready", "Whether a child is up and ready", ["child"])

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
# A child that stayed ready this long has recovered: its next death counts as a first one.
RECOVERED_SECONDS = 60.0
# So many bad answers in a row about its health end a child.
PATIENCE_WITH_ILLNESS = 3

_log = logs.get(__name__)


class Keeper:
    """The states of one child: starting, ready, waiting to be started again, stopping, gone.

    Nothing here blocks: the supervisor calls :meth:`look` whenever something may have happened.
    """

    def __init__(self, spec: ChildSpec) -> None:
        """Start the child; raises Unavailable where it cannot even be started."""
        self.spec = spec
        self.is_ready = False
        #: Why the first start came to nothing, if it did.
        self.failure: str | None = None
        self._was_ready = False
        self._deaths = 0
        self._restart_at: float | None = None
        self._escalations: list[tuple[float, signal.Signals]] | None = None
        self._launch()

    def _launch(self) -> None:
        self._restart_at = None
        self._child: Child | None = Child(self.spec)
        self._progress = Progress(self.spec)
        _log.info("child_started", child=self.spec.name, pid=self._child.pid)
        if self.spec.ready is None:
            self._become_ready(self._child)

    @property
    def patience_seconds(self) -> float:
        """How long the next look may wait, unless a child ends meanwhile."""
        if self._restart_at is not None:
            return max(0.0, self._restart_at - time.monotonic())
        if self._child is None or self.is_ready:
            return self.spec.health_interval if self.spec.healthy else 60.0
        return 0.02 if self._escalations is None else 0.1

    def look(self) -> None:
        """See what has become of the child, and do what follows from it."""
        if self._escalations is not None:
            return
        if self._child is None:
            if self._restart_at is not None and time.monotonic() >= self._restart_at:
                self._launch_again()
        elif (status := self._child.poll()) is not None:
            self._bury(self._child, status)
        elif not self.is_ready:
            self._look_for_readiness(self._child)
        elif self.spec.healthy and time.monotonic() >= self._check_at:
            self._check_health(self._child, self.spec.healthy)

    def _look_for_readiness(self, child: Child) -> None:
        if self.spec.ready is None or self.spec.ready():
            self._become_ready(child)
        elif self._progress.stalled():
            _log.error("child_start_stalled", child=self.spec.name, pid=child.pid)
            child.stop(at_once=True)

    def _become_ready(self, child: Child) -> None:
        self.is_ready = self._was_ready = True
        self._ready_since = time.monotonic()
        self._check_at = self._ready_since + self.spec.health_interval
        self._ailing = 0
        READY.labels(self.spec.name).set(1)
        duration = round((self._ready_since - child.started) * 1000)
        _log.info("child_ready", child=self.spec.name, pid=child.pid, duration_ms=duration)

    def _check_health(self, child: Child, healthy: Callable[[], bool]) -> None:
        self._check_at = time.monotonic() + self.spec.health_interval
        self._ailing = 0 if healthy() else self._ailing + 1
        if self._ailing >= PATIENCE_WITH_ILLNESS:
            _log.error("child_unhealthy", child=self.spec.name, pid=child.pid)
            child.stop(at_once=True)

    def _bury(self, child: Child, status: int) -> None:
        """The child has ended without having been told to."""
        if self.is_ready and time.monotonic() - self._ready_since > RECOVERED_SECONDS:
            self._deaths = 0
        started, self._child, self.is_ready = self.is_ready, None, False
        READY.labels(self.spec.name).set(0)
        _log.error("child_ended", child=self.spec.name, pid=child.pid, status=status)
        if not started and self.spec.repair and self.spec.repair():
            self._restart_at = time.monotonic()
        elif not self._was_ready:
            self.failure = ended_early(self.spec, status)
        elif self.spec.restart:
            self._restart_later()

    def _restart_later(self) -> None:
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**self._deaths)
        self._deaths += 1
        self._restart_at = time.monotonic() + delay
        _log.info("child_restarts", child=self.spec.name, delay_ms=round(delay * 1000), deaths=self._deaths)

    def _launch_again(self) -> None:
        RESTARTS.labels(self.spec.name).inc()
        try:
            self._launch()
        except Unavailable as exc:
            _log.error("child_not_started", child=self.spec.name, error=str(exc))
            self._restart_later()

    def begin_stop(self) -> None:
        """Ask the child to end; it is not started again."""
        now = time.monotonic()
        self._escalations = [
            (now + self.spec.stop_timeout, self.spec.hurry_signal),
            (now + self.spec.stop_timeout + HURRY_SECONDS, signal.SIGKILL),
        ]
        self._restart_at = None
        self.is_ready = False
        READY.labels(self.spec.name).set(0)
        if self._child is not None:
            self._child.send(self.spec.stop_signal)

    def hurry(self) -> None:
        """Send the next harsher signal sooner than the child's `stop_timeout`; safe to repeat."""
        if self._escalations and self._escalations[0][1] == self.spec.hurry_signal:
            now = time.monotonic()
            self._escalations = [(now, self.spec.hurry_signal), (now + HURRY_SECONDS, signal.SIGKILL)]

    def has_stopped(self) -> bool:
        """Whether the child has gone; sends the next harsher signal when it is due."""
        if self._child is None:
            return True
        if (status := self._child.poll()) is not None:
            _log.info("child_stopped", child=self.spec.name, pid=self._child.pid, status=status)
            self._child = None
            return True
        if self._escalations and time.monotonic() >= self._escalations[0][0]:
            number = self._escalations.pop(0)[1]
            _log.warning("child_stop_forced", child=self.spec.name, pid=self._child.pid, signal=number.name)
            self._child.send(number)
        return False
