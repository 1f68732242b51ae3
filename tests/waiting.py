"""How tests wait: until something is so, for as long as a slow machine may take."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

PATIENCE_SECONDS = 120.0
"""When it is plain that something hangs; what works is done long before, however slow the machine."""

_SHORTEST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.1


def wait_until(
    condition: Callable[[], object],
    seconds: float = PATIENCE_SECONDS,
    explain: Callable[[], str] | str = "it never came",
) -> None:
    """Return as soon as the condition holds; fails the test where it does not within so many seconds."""
    give_up = time.monotonic() + seconds
    pause = _SHORTEST_PAUSE_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            why = explain if isinstance(explain, str) else explain()
            pytest.fail(f"waited {seconds:.0f} s in vain: {why}")
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)


def is_ever_quicker(than_seconds: float, call: Callable[[], object], tries: int = 10) -> bool:
    """Whether a call takes less than so long at least once in so many times.

    What it waits for by itself it waits for every time; what a busy machine makes it wait for, it does not.
    """
    for _ in range(tries):
        began = time.monotonic()
        call()
        if time.monotonic() - began < than_seconds:
            return True
    return False
