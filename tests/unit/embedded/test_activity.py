from __future__ import annotations

import subprocess
import time

from services.embedded.activity import activity


def test_a_busy_child_of_an_idle_process_is_activity_and_sleep_is_not() -> None:
    with subprocess.Popen(["sh", "-c", "(while :; do :; done) & wait"], start_new_session=True) as busy:
        seen: set[object] = set()
        give_up = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < give_up:
            seen.add(activity(busy.pid))
            time.sleep(0.05)
        subprocess.run(["kill", "-9", "--", f"-{busy.pid}"], check=True)
    assert len(seen) == 3
    with subprocess.Popen(["sleep", "60"]) as idle:
        time.sleep(0.3)
        seen = set()
        for _ in range(20):
            seen.add(activity(idle.pid))
            time.sleep(0.01)
        idle.kill()
    assert len(seen) == 1


def test_what_does_not_live_does_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert activity(gone.pid) == activity(gone.pid)
    assert activity(None) is None
