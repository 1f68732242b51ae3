"""Originals that the quarantine holds: the sweeper leaves them to an operator."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from services.common import logs
from services.common.errors import NotFound
from services.common.events import InstancesStored, to_json
from services.common.model import QuarantineEntry
from services.common.ports import Quarantine
from services.common.workers import held_entry_id

SWEEP_TASK = "gantry.sweep.recover"

_REMEMBERED_SECONDS = 600.0
_log = logs.get(__name__)


class Held:
    """Asks the quarantine whether a task gave up on an original; remembers for a while that one did."""

    def __init__(self, quarantine: Quarantine, *tasks: str) -> None:
        self._quarantine = quarantine
        self._tasks = tasks
        self._known: dict[str, float] = {}

    def __contains__(self, key: str) -> bool:
        if self._known.get(key, 0.0) > time.monotonic():
            return True
        if not any(self._is_held(held_entry_id(task, key)) for task in self._tasks):
            return False
        self._remember(key)
        return True

    def hold(self, key: str, reason: str) -> None:
        """Give up on an original that cannot be read; to try the entry again is to let the sweeper try."""
        self._quarantine.hold(
            QuarantineEntry(
                entry_id=held_entry_id(SWEEP_TASK, key),
                kind=SWEEP_TASK,
                reason=f"{key}: {reason}",
                payload=to_json(InstancesStored(instances=())),
                held_at=datetime.now(UTC),
            )
        )
        self._remember(key)
        _log.error("original_quarantined", key=key)

    def _is_held(self, entry_id: str) -> bool:
        try:
            self._quarantine.get(entry_id)
        except NotFound:
            return False
        return True

    def _remember(self, key: str) -> None:
        now = time.monotonic()
        # A new dict each time, for threads read it meanwhile; that one may forget for another costs a look.
        recent = {known: until for known, until in self._known.items() if until > now}
        self._known = recent | {key: now + _REMEMBERED_SECONDS}
