"""Tells of stored instances in micro-batches, out of the sender's way.

Nothing here is a promise: what cannot be told in time is dropped and counted, for the object store has it
and the sweeper tells again of whatever never reached the catalog.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass

from services.common import logs
from services.common.counts import Counter, Gauge
from services.common.errors import Unavailable
from services.common.events import InstancesStored
from services.common.model import StoredInstance
from services.common.ports import EventBus

_log = logs.get(__name__)
_PUBLISHED = Counter("gantry_instances_published_total", "Stored instances told of on the queue")
_DROPPED = Counter("gantry_instances_unpublished_total", "Stored instances left for the sweeper to tell of")
_PENDING = Gauge(
    "gantry_publisher_pending_bytes", "Memory that waiting events take", multiprocess_mode="livesum"
)
_BYTES_BESIDE_HEADER = 1024
_COMPRESSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch closes: so many instances, so much JSON, so long after its first; and what may wait."""

    instances: int = 100
    message_bytes: int = 256 * 1024
    seconds: float = 0.1
    pending_bytes: int = 8 * 2**20
    longest_pause_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    stored: StoredInstance
    offered_at: float

    @property
    def memory(self) -> int:
        """Bytes that it takes while it waits, about."""
        return len(self.stored.header.content) + _BYTES_BESIDE_HEADER

    @property
    def message_bytes(self) -> int:
        """Bytes that it takes in a message, about: headers shrink to a third and grow by base64."""
        return len(self.stored.header.content) // _COMPRESSION + _BYTES_BESIDE_HEADER


class BatchingPublisher:
    """Takes stored instances and publishes them from a thread of its own, one in each process."""

    def __init__(self, bus: EventBus, *, limits: BatchLimits | None = None) -> None:
        self._bus = bus
        self._limits = limits or BatchLimits()
        self._begin()
        _open_in_this_process.add(self)

    def _begin(self) -> None:
        # Also run in a forked child: what waits here is the parent's to tell, and its thread is not ours.
        self._changed = threading.Condition()
        self._waiting: deque[_Offer] = deque()
        self._held_bytes = 0
        self._hurry = False
        self._closed = False
        self._gave_up = False
        self._thread: threading.Thread | None = None

    def offer(self, stored: StoredInstance) -> None:
        """Take note of an instance to tell of; never waits for the queue and never raises."""
        offer = _Offer(stored=stored, offered_at=time.monotonic())
        with self._changed:
            if self._closed or self._held_bytes + offer.memory > self._limits.pending_bytes:
                _DROPPED.inc()
                return
            self._waiting.append(offer)
            self._hold(offer.memory)
            self._ensure_thread()
            self._changed.notify()

    def flush(self) -> None:
        """Send what waits without waiting for more; returns at once."""
        with self._changed:
            self._hurry = bool(self._waiting)
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Take no more, and send what waits; says whether all went within `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._changed:
            return self._held_bytes == 0 and not self._gave_up

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="publisher", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                _log.warning("publisher_thread_refused")
            else:
                self._thread = thread

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._send(InstancesStored(instances=tuple(offer.stored for offer in batch)))
            finally:
                with self._changed:
                    self._hold(-sum(offer.memory for offer in batch))

    def _next_batch(self) -> list[_Offer]:
        """The next offers to send together, as soon as the batch closes; none when all is over."""
        with self._changed:
            while (wait := self._seconds_to_close()) > 0:
                self._changed.wait(wait if self._waiting else None)
            batch: list[_Offer] = []
            size = 0
            while self._waiting and len(batch) < self._limits.instances:
                size += self._waiting[0].message_bytes
                if batch and size > self._limits.message_bytes:
                    break
                batch.append(self._waiting.popleft())
            self._hurry = self._hurry and bool(self._waiting)
            return batch

    def _seconds_to_close(self) -> float:
        if self._closed:
            return 0
        if not self._waiting:
            return self._limits.seconds
        full = (
            self._hurry
            or len(self._waiting) >= self._limits.instances
            or sum(offer.message_bytes for offer in self._waiting) >= self._limits.message_bytes
        )
        return 0 if full else self._waiting[0].offered_at + self._limits.seconds - time.monotonic()

    def _send(self, event: InstancesStored) -> None:
        """Publish, again and again while the queue does not answer; once closed, only once more."""
        pause = self._limits.seconds
        while True:
            last = self._closed
            try:
                self._bus.publish(event)
            except Unavailable as exc:
                _log.warning("events_delayed", summary=event.summary, reason=str(exc), pause_s=pause)
            else:
                _PUBLISHED.inc(len(event.instances))
                return
            if last:
                self._gave_up = True
                _DROPPED.inc(len(event.instances))
                return
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
            pause = min(2 * pause, self._limits.longest_pause_seconds)

    def _hold(self, more: int) -> None:
        self._held_bytes += more
        _PENDING.set(self._held_bytes)


_open_in_this_process: weakref.WeakSet[BatchingPublisher] = weakref.WeakSet()


def _begin_all() -> None:
    for publisher in _open_in_this_process:
        publisher._begin()


os.register_at_fork(after_in_child=_begin_all)
