"""One round of the sweeper, and the loop of those who take turns at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from services.common import logs
from services.common.errors import Unavailable
from services.common.events import INDEX_TASK, TRANSCODE_TASK
from services.common.ports import BlobStore, CatalogWriter, EventBus, Leftovers, Quarantine, Watermarks
from services.common.settings import StoreSettings
from services.index.duplicates import Duplicates
from services.index.held import SWEEP_TASK, Held
from services.index.outstanding import Outstanding
from services.index.settings import SweepSettings
from services.index.unindexed import Ages, GoOn, Unindexed
from services.index.unrendered import UnrenderedSweep

_log = logs.get(__name__)


class Turn(Protocol):
    """The right to sweep."""

    def is_held(self) -> bool:
        """Ask whether it is still ours."""


class Sweeper:
    """Everything that one round heals."""

    def __init__(
        self,
        *,
        store: BlobStore,
        catalog: CatalogWriter,
        watermarks: Watermarks,
        leftovers: Leftovers,
        bus: EventBus,
        quarantine: Quarantine,
        clear_uploads: Callable[[], object],
        settings: SweepSettings,
        put: StoreSettings,
    ) -> None:
        """`clear_uploads` forgets what killed pods have left of uploads."""
        self._settings = settings
        self._clear_uploads = clear_uploads
        self._unindexed = Unindexed(
            store=store,
            catalog=catalog,
            watermarks=watermarks,
            outstanding=Outstanding(
                bus=bus,
                queue="index",
                most=settings.outstanding,
                longest_queue=settings.longest_queue,
                again_after=settings.again_after,
            ),
            held=Held(quarantine, INDEX_TASK, SWEEP_TASK),
            ages=Ages(youngest=settings.youngest, settled=put.longest_put_seconds + put.clock_skew_seconds),
        )
        self._unrendered = UnrenderedSweep(
            leftovers=leftovers,
            watermarks=watermarks,
            outstanding=Outstanding(
                bus=bus,
                queue="transcode",
                most=settings.outstanding,
                longest_queue=0,
                again_after=settings.rendition_again_after,
            ),
            held=Held(quarantine, TRANSCODE_TASK),
            after=settings.rendition_after,
        )
        self._duplicates = Duplicates(store, leftovers, after=settings.duplicate_after)
        self._next_full_pass = self._next_duplicates = self._next_clearing = time.monotonic()

    def sweep(self, go_on: GoOn) -> None:
        """One round, ended early when `go_on` says no."""
        self._unindexed.sweep_recent(go_on)
        if go_on() and time.monotonic() >= self._next_full_pass:
            ended = self._unindexed.sweep_some(go_on, self._settings.full_pass_pages)
            self._next_full_pass = time.monotonic() + (self._settings.full_pass_rest if ended else 0)
        if go_on():
            self._unrendered.sweep(go_on)
        if go_on() and time.monotonic() >= self._next_duplicates:
            self._duplicates.sweep(go_on)
            self._next_duplicates = time.monotonic() + self._settings.duplicate_interval
        if go_on() and time.monotonic() >= self._next_clearing:
            self._clear_uploads()
            self._next_clearing = time.monotonic() + self._settings.upload_interval


def sweep_in_turn(
    sweeper: Sweeper,
    take_turn: Callable[[], AbstractContextManager[Turn | None]],
    stopped: threading.Event,
    interval: float,
) -> None:
    """Sweep every `interval` seconds while this process has its turn, until `stopped`."""
    while not stopped.is_set():
        try:
            with take_turn() as turn:
                while turn is not None and not stopped.is_set() and turn.is_held():
                    _sweep(sweeper, lambda turn=turn: not stopped.is_set() and turn.is_held())  # type: ignore[misc]
                    stopped.wait(interval)
        except Unavailable as exc:
            _log.warning("sweep_postponed", reason=str(exc))
        stopped.wait(interval)


def _sweep(sweeper: Sweeper, go_on: GoOn) -> None:
    began = time.monotonic()
    try:
        sweeper.sweep(go_on)
    except Unavailable as exc:
        _log.warning("sweep_postponed", reason=str(exc))
    else:
        _log.debug("swept", duration_ms=round(1000 * (time.monotonic() - began)))
