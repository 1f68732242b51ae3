"""What happens to one message of a queue: decode, count the attempt, run the use case, and settle it.

===========================  =====================================================================
the use case                 the message
===========================  =====================================================================
returns                      is done with
raises `Unavailable`, or     goes back to its queue after a pause that grows as long as that lasts
finds the disk full
raises `InvalidInstance`,    goes to quarantine; where it tells of several instances, each comes back
`BlobMissing`                in a message of its own, so that none suffers for another
raises anything else, or     is tried three times in all, and then treated like an invalid one
never ends (its process
is killed)
===========================  =====================================================================
"""

from __future__ import annotations

import errno
import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from structlog.contextvars import bound_contextvars

from services.common import keys, logs
from services.common.counts import Histogram
from services.common.errors import BlobMissing, InvalidInstance, Unavailable
from services.common.events import Event, MalformedEvent, from_json, singly, to_json
from services.common.model import QuarantineEntry
from services.common.ports import Attempts, EventBus, Quarantine

_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
OUTCOMES = ("done", "again", "split", "quarantined", "unavailable")
_log = logs.get(__name__)
_DURATION = Histogram(
    "gantry_task_duration_seconds",
    "How long messages took, by task and by what became of them",
    ("task", "outcome"),
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 900),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a message is tried, and the pauses (seconds) before it may come again."""

    attempts: int = 3
    shortest_pause: float = 0.5
    longest_pause: float = 10.0

    def pause(self, failures: int) -> float:
        """How long to wait after so many failures in a row: doubling, and never in step with others."""
        longest = min(self.longest_pause, self.shortest_pause * 2.0 ** min(failures - 1, 20))
        return longest * random.uniform(0.5, 1.0)


def held_entry_id(task: str, key: str) -> str:
    """The name of the quarantine entry of a blob that `task` gave up: always the same, as old as its key."""
    digest = hashlib.sha256(f"{task} {key}".encode()).hexdigest()
    age = keys.ordinal(key).hex[:12] if keys.is_timed(key) else "0" * 12
    return age + digest[:20]


class Runner:
    """Runs one task's use case on the text of a message."""

    def __init__(
        self,
        *,
        task: str,
        use_case: Callable[[Event], object],
        attempts: Attempts,
        quarantine: Quarantine,
        bus: EventBus,
        patience: Patience | None = None,
    ) -> None:
        self._task = task
        self._use_case = use_case
        self._attempts = attempts
        self._quarantine = quarantine
        self._bus = bus
        self._patience = patience or Patience()
        self._outages = 0
        self._uncounted: set[str] = set()
        for outcome in OUTCOMES:
            _DURATION.labels(task, outcome)  # there from the start, as zeros

    def __call__(self, text: str) -> bool:
        """Take one message; says whether it is done with (else it is to go back to its queue)."""
        key = hashlib.sha256(text.encode()).hexdigest()
        began = time.monotonic()
        with bound_contextvars(task=self._task, message=key[:16]):
            try:
                outcome = self._take(text, key)
                self._outages = 0
            except Unavailable as exc:
                self._outages += 1
                outcome = "unavailable"
                # To have found no answer takes time as well, and a task that takes too long is killed.
                pause = max(0.0, self._patience.pause(self._outages) - (time.monotonic() - began))
                _log.warning("task_postponed", reason=str(exc), pause_s=round(pause, 2))
                time.sleep(pause)
        _DURATION.labels(self._task, outcome).observe(time.monotonic() - began)
        return outcome not in ("again", "unavailable")

    def _take(self, text: str, key: str) -> str:
        try:
            event = from_json(text)
        except MalformedEvent as exc:
            self._hold(keys.new_entry_id(datetime.now(UTC)), str(exc), text)
            return "quarantined"
        if not event.instances:
            return "done"
        self._uncount()
        number = self._attempts.begin(self._task, key)
        if number > self._patience.attempts:
            outcome = self._give_up(event, f"was begun {number - 1} times and never ended")
        else:
            outcome = self._attempt(event, key, number)
        if outcome != "again":
            self._attempts.end(self._task, key)
        return outcome

    def _attempt(self, event: Event, key: str, number: int) -> str:
        began = time.monotonic()
        try:
            self._use_case(event)
        except Unavailable:
            self._forgive(key)
            raise
        except OSError as exc:
            if exc.errno not in _EXHAUSTED:
                return self._failed(event, exc, number)
            self._forgive(key)
            raise Unavailable(f"this machine is exhausted: {exc.strerror}") from exc
        except (InvalidInstance, BlobMissing) as exc:
            return self._give_up(event, str(exc), tag=getattr(exc, "tag", None))
        except Exception as exc:  # noqa: BLE001  (the edge: whatever a message does, the next one is taken)
            return self._failed(event, exc, number)
        milliseconds = round(1000 * (time.monotonic() - began))
        _log.info("task_done", summary=event.summary, duration_ms=milliseconds)
        return "done"

    def _failed(self, event: Event, exc: Exception, number: int) -> str:
        # Only the kind and the place: the text of an unknown error may quote a patient's data.
        _log.warning("task_failed", attempt=number, error=type(exc).__name__, place=_place_of(exc))
        if number >= self._patience.attempts:
            return self._give_up(event, f"{type(exc).__name__}: {exc}")
        time.sleep(self._patience.pause(number))
        return "again"

    def _give_up(self, event: Event, reason: str, *, tag: int | None = None) -> str:
        if len(event.instances) > 1:
            for part in singly(event):
                self._bus.publish(part)
            _log.warning("batch_split", summary=event.summary)
            return "split"
        entry_id = held_entry_id(self._task, event.instances[0].blob.key)
        self._hold(entry_id, reason, to_json(event), tag=tag)
        return "quarantined"

    def _hold(self, entry_id: str, reason: str, payload: str, *, tag: int | None = None) -> None:
        self._quarantine.hold(
            QuarantineEntry(
                entry_id=entry_id,
                kind=self._task,
                reason=reason,
                payload=payload,
                held_at=datetime.now(UTC),
                tag=tag,
            )
        )
        _log.error("task_quarantined", entry_id=entry_id)

    def _forgive(self, key: str) -> None:
        """An outage is nobody's fault, so it counts against no message, however long it lasts."""
        self._uncounted.add(key)
        self._uncount()

    def _uncount(self) -> None:
        for key in tuple(self._uncounted):
            self._attempts.end(self._task, key)
            self._uncounted.discard(key)


def _place_of(exc: BaseException) -> str:
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_globals.get('__name__')}:{traceback.tb_lineno}" if traceback else ""
