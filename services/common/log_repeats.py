"""A peer that repeats itself does not fill the log: one line per peer and kind in a while, with a count."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 10.0
"""How long a line that says the same again is held back."""

_PEERS = 1000
"""How many peers and kinds are remembered; the one heard of longest ago is forgotten first."""

_KINDS: Mapping[str, tuple[str, ...]] = {
    "association_ended": ("ending",),
    "instance_refused": ("reason",),
    "request_refused": ("service", "error"),
    "Invalid HTTP request received.": (),  # uvicorn's
}
"""Events that a peer can cause at will → the fields that tell its kinds apart."""


class Repeats(logging.Filter):
    """Lets the first line of a peer and kind pass, and the next after `SECONDS`; that one says how often it
    came meanwhile (`repeated`).

    Only what a peer does wrong is held back: an association that kept to the protocol and bytes that came
    for the first time are told of each time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[object, ...], list[float]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        fields: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
        if fields.get("event") not in _KINDS or not _is_at_fault(fields):
            return True
        held_back = self._held_back(_who_and_what(fields))
        if held_back and isinstance(record.msg, dict):
            fields["repeated"] = held_back
        return held_back is not None

    def _held_back(self, key: tuple[object, ...]) -> int | None:
        """How many lines were held back since the last, if this one passes."""
        now = self._clock()
        with self._lock:
            told = self._told.get(key)
            if told is not None and now - told[0] < SECONDS:
                told[1] += 1
                return None
            self._told[key] = [now, 0]
            self._told.move_to_end(key)
            if len(self._told) > _PEERS:
                self._told.popitem(last=False)
        return 0 if told is None else int(told[1])


def _is_at_fault(fields: Mapping[str, Any]) -> bool:
    match fields["event"]:
        case "association_ended":
            return bool(fields.get("ending") == "protocol_violation")
        case "instance_refused":
            return bool(fields.get("known"))
        case _:
            return True


def _who_and_what(fields: Mapping[str, Any]) -> tuple[object, ...]:
    """The event and its kind, the peer's host without its port, and the AE title it goes by."""
    event = fields["event"]
    host = str(fields.get("peer", "")).rpartition(":")[0]
    return (event, host, fields.get("calling_aet", ""), *(fields.get(name) for name in _KINDS[event]))
