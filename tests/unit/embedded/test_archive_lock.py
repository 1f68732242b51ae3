from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.embedded.lock import ArchiveLock
from tests.waiting import PATIENCE_SECONDS


def test_second_holder_is_told_the_firsts_pid_at_once(tmp_path: Path) -> None:
    with (
        ArchiveLock(tmp_path),
        pytest.raises(Unavailable, match=rf"{re.escape(str(tmp_path))} is in use by process {os.getpid()}"),
    ):
        ArchiveLock(tmp_path, leftover_seconds=3600).acquire()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = ArchiveLock(tmp_path / "new" / "archive")
    for _ in range(2):
        with lock:
            assert lock.fd >= 0
    with pytest.raises(RuntimeError, match="not held"):
        _ = lock.fd


def test_other_archives_are_locked_apart(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path / "a"), ArchiveLock(tmp_path / "b"):
        pass


def test_servers_of_a_dead_holder_are_waited_for(tmp_path: Path) -> None:
    was_told = threading.Event()
    with _survivor(tmp_path, seconds=3600) as survivor:

        def tell() -> None:
            was_told.set()
            survivor.kill()

        timer = threading.Timer(0.3, tell)
        timer.start()
        with ArchiveLock(tmp_path, leftover_seconds=PATIENCE_SECONDS):
            assert was_told.is_set(), "it did not wait"
        timer.join()


def test_servers_of_a_dead_holder_that_stay_are_reported(tmp_path: Path) -> None:
    with (
        _survivor(tmp_path, seconds=600) as survivor,
        pytest.raises(Unavailable, match=r"servers that process \d+ left behind still run"),
    ):
        try:
            ArchiveLock(tmp_path, leftover_seconds=0.3).acquire()
        finally:
            survivor.kill()


def _survivor(archive: Path, *, seconds: float) -> subprocess.Popen[bytes]:
    """A process that inherited the lock of a holder who is dead, and whose pid somebody else has by now."""
    lock = ArchiveLock(archive)
    lock.acquire()
    process = subprocess.Popen(["sleep", str(seconds)], pass_fds=[lock.fd])
    lock.release()
    (archive / "archive.lock").write_text(f"{os.getpid()} 12345\n")
    return process
