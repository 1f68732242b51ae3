"""The taking side of a queue: one Celery worker process with a pool of children that run the tasks.

What a worker that was killed had taken is back in the queue within seconds of its visibility time-out, as
long as any worker of the queue lives.  (kombu looks for such messages every 100 s by default, and the lock of
a worker that died while it looked would hold that up for 5 min.)
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, Reject, SecurityWarning
from celery.worker import state
from kombu.transport import redis as redis_transport
from kombu.transport import virtual

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus, queue_app
from services.common.errors import Unavailable
from services.common.parent import die_with_parent
from services.common.priority import yield_to_others
from services.common.settings import RedisSettings

Task = Callable[[str], bool]
"""Takes the text of a message; says whether the message is done with (else it goes back to its queue)."""

EXIT_STALLED = 75
"""The exit status of a worker that took nothing from a queue that was not empty."""

_BROKER_TIMEOUT_SECONDS = 5.0
_REAP_SECONDS = 0.5
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """How long things may take, in seconds.

    A task that runs longer than `hard_limit` is killed.  What a worker holds for longer than `visibility`
    is taken to be lost, so that is the greater one; what is lost is looked for every `restore`.  A worker
    that has taken nothing for `stall` from a queue that is not empty ends itself.  Told to stop, it gives
    what it holds `grace` to end.
    """

    hard_limit: float
    visibility: float
    restore: float = 5.0
    stall: float = 60.0
    grace: float = 20.0


INDEX_LIMITS = WorkerLimits(hard_limit=30, visibility=60)
TRANSCODE_LIMITS = WorkerLimits(hard_limit=15 * 60, visibility=20 * 60)


def worker_app(
    queue: str, settings: RedisSettings, limits: WorkerLimits, tasks: Mapping[str, Task]
) -> Celery:
    """The application whose workers run `tasks`, by name, on what comes from `queue`."""
    app = queue_app(
        queue,
        settings,
        {
            "visibility_timeout": limits.visibility,
            "unacked_restore_interval": limits.restore,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": max(1, round(2 * limits.restore)),
            "health_check_interval": 10,
            "socket_timeout": _BROKER_TIMEOUT_SECONDS,
            "socket_connect_timeout": _BROKER_TIMEOUT_SECONDS,
            "socket_keepalive": True,
        },
    )
    app.conf.update(
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_acks_late=True,
        task_acks_on_failure=False,
        task_acks_on_timeout=False,
        task_reject_on_worker_lost=True,
        task_time_limit=limits.hard_limit,
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        # A task whose connection is lost goes on: its message comes again, and every event may.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Remote control would show whole messages to anyone who can reach Redis.
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    for name, task in tasks.items():
        app.task(_run(task), name=name)
    return app


def run_worker(
    app: Celery, bus: CeleryBus, limits: WorkerLimits, processes: int, *, niceness: int = 0
) -> int:
    """Take messages until told to stop (SIGTERM, SIGINT); gives the exit status, 0 after a clean end.

    The processes that run the tasks have that `niceness`; the one that speaks to the broker keeps its own.
    """
    warnings.filterwarnings("ignore", category=SecurityWarning)  # root matters to pickle, not to JSON
    redis_transport.Channel.QoS = _QoS
    watch = _Watch(queue=app.conf.task_default_queue, bus=bus, limits=limits, processes=processes)
    handlers = (
        (signals.setup_logging, _quieten),
        (signals.task_received, watch.on_taken),
        (signals.worker_process_init, lambda **_: die_with_parent(signal.SIGKILL)),
        (signals.worker_process_init, lambda **_: yield_to_others(niceness)),
        (signals.worker_ready, watch.on_ready),
        (signals.worker_shutting_down, watch.on_stop),
    )
    for event, handler in handlers:
        event.connect(handler, weak=False)
    worker = app.Worker(
        hostname=f"gantry-{app.conf.task_default_queue}-{os.getpid()}@{socket.gethostname()}",
        concurrency=processes,
        pool_cls="prefork",
        loglevel="WARNING",
        quiet=True,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    watch.end()
    return int(worker.exitcode or 0)


def _quieten(**_: Any) -> None:
    """In place of Celery's own logging: the tasks tell of themselves, once each."""
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


def _run(task: Task) -> Callable[[str], None]:
    def run(message: str) -> None:
        try:
            done = task(message)
        except Exception as exc:  # noqa: BLE001  (the edge: Celery would drop the message and log the error's text)
            _log.error("task_broke", error=type(exc).__name__)
            time.sleep(1)
            done = False
        if not done:
            raise Reject(requeue=True)

    return run


class _QoS(redis_transport.QoS):  # type: ignore[misc]
    """Gives a message's place back even where Redis cannot be told so.

    kombu keeps the place otherwise.  With all places taken it does not look at its connection any more, so
    that it never sees that this is gone, and the worker waits for ever.  Redis gives the message to another
    after its visibility time-out.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise


class _Watch:
    """Ends a worker that has stopped taking messages, or that does not end when told to.

    Celery workers are known to lose their consumer silently after a lost connection; only a new process
    is sure to take up work again, so this one ends and its supervisor starts another.
    """

    def __init__(self, *, queue: str, bus: CeleryBus, limits: WorkerLimits, processes: int) -> None:
        self._queue = queue
        self._bus = bus
        self._limits = limits
        self._processes = processes
        self._last_sign = time.monotonic()
        self._ended = threading.Event()

    def on_ready(self, sender: Any, **_: Any) -> None:
        """Watch from now on, in a thread; `sender` is Celery's consumer."""
        # The pool notices a dead child when its pipe closes, or (where it cannot be reaped yet) 5 s later.
        sender.hub.call_repeatedly(_REAP_SECONDS, sender.pool.maintain_pool)
        self._last_sign = time.monotonic()
        threading.Thread(target=self._watch, name="worker-watch", daemon=True).start()

    def on_taken(self, **_: Any) -> None:
        """A message was taken."""
        self._last_sign = time.monotonic()

    def on_stop(self, **_: Any) -> None:
        """The worker was told to stop."""
        self._ended.set()
        timer = threading.Timer(self._limits.grace, os.kill, (os.getpid(), signal.SIGQUIT))
        timer.daemon = True
        timer.start()

    def end(self) -> None:
        """The worker has ended."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._limits.stall / 10):
            if self._healthy():
                self._last_sign = time.monotonic()
            elif time.monotonic() - self._last_sign > self._limits.stall:
                _log.error("worker_stalled", queue=self._queue, seconds=self._limits.stall)
                os._exit(EXIT_STALLED)

    def _healthy(self) -> bool:
        """Whether there is nothing to take, or no hand free to take it."""
        oldest_start = time.time() - self._limits.hard_limit
        busy = [r for r in tuple(state.active_requests) if (r.time_start or 0) > oldest_start]
        if len(busy) >= self._processes:
            return True
        try:
            return self._bus.depth(self._queue) == 0
        except Unavailable:
            return True
