"""Workers as separate processes, and what a test sees of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.settings import RedisSettings
from tests.waiting import PATIENCE_SECONDS


class Worker:
    """A running `tests.fakes.queue_worker`, whose log is in its folder."""

    def __init__(self, settings: RedisSettings, folder: Path, **order: object) -> None:
        self.folder = folder
        limits = {"hard_limit": 60, "visibility": 90} | dict(order.pop("limits", {}))  # type: ignore[call-overload]
        order |= {"url": settings.url.get_secret_value(), "folder": str(folder), "limits": limits}
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.queue_worker", json.dumps(order)],
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """All that this folder's workers wrote."""
        return (self.folder / "log").read_text()

    def children(self) -> list[int]:
        """The processes of its pool."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = PATIENCE_SECONDS) -> int:
        """End it as a supervisor would; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def running_worker(settings: RedisSettings, folder: Path, **order: object) -> Iterator[Worker]:
    """A worker that is gone when the block is left."""
    worker = Worker(settings, folder, **order)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()


def is_alive(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
