from __future__ import annotations

import subprocess
import time

from services.embedded.activity import activity
from tests.waiting import wait_until


def test_a_busy_child_of_an_idle_process_is_activity_and_sleep_is_not() -> None:
    with subprocess.Popen(["sh", "-c", "(while :; do :; done) & wait"], start_new_session=True) as busy:
        seen: set[object] = set()
        try:
            wait_until(lambda: seen.add(activity(busy.pid)) or len(seen) >= 3)
        finally:
            subprocess.run(["kill", "-9", "--", f"-{busy.pid}"], check=True)
    with subprocess.Popen(["sleep", "3600"]) as idle:
        try:
            wait_until(lambda: len({_activity_later(idle.pid) for _ in range(20)}) == 1)
        finally:
            idle.kill()


def _activity_later(pid: int) -> object:
    time.sleep(0.01)
    return activity(pid)


def test_what_does_not_live_does_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert activity(gone.pid) == activity(gone.pid)
    assert activity(None) is None
