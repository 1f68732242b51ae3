"""One fsync of a folder for all who wait for it, and none that began before the change that it is to keep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.adapters import durable
from services.common.adapters.durable import SharedSync

SECONDS = 60.0


class Disk:
    """Notes each fsync; every one waits until it is let go."""

    def __init__(self) -> None:
        self.begun: list[Path] = []
        self.began = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.error: OSError | None = None

    def sync(self, folder: Path) -> None:
        self.begun.append(folder)
        self.began.release()
        assert self.let_go.acquire(timeout=SECONDS)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(durable, "sync_folder", disk.sync)
    return disk


class Asking(threading.Thread):
    """Somebody who asks for an fsync, and what came of it."""

    def __init__(self, shared: SharedSync, folder: Path) -> None:
        super().__init__(daemon=True)
        self._ask: Callable[[], None] = lambda: shared.sync(folder)
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._ask()
        except OSError as exc:
            self.error = exc

    def end(self) -> OSError | None:
        self.join(SECONDS)
        assert not self.is_alive()
        return self.error


def wait_for_joined(shared: SharedSync, folder: Path, count: int) -> None:
    """Until so many wait for the fsync that is to begin next."""
    pause = threading.Event()
    for _ in range(6000):
        forming = shared._forming.get(folder)
        if forming is not None and len(forming.over._cond._waiters) >= count:  # type: ignore[attr-defined]
            return
        pause.wait(0.01)
    pytest.fail("they did not come together")


def test_all_who_come_during_an_fsync_share_the_next(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    first = Asking(shared, tmp_path)
    assert disk.began.acquire(timeout=SECONDS)
    others = [Asking(shared, tmp_path) for _ in range(5)]
    wait_for_joined(shared, tmp_path, 4)
    assert all(other.is_alive() for other in others), "the fsync that runs may have missed their changes"
    disk.let_go.release()
    assert first.end() is None
    assert disk.began.acquire(timeout=SECONDS)
    assert all(other.is_alive() for other in others)
    disk.let_go.release()
    assert [other.end() for other in others] == [None] * 5
    assert disk.begun == [tmp_path] * 2
    assert not shared._forming and not shared._turns


def test_folders_do_not_wait_for_each_other(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    asking = [Asking(shared, tmp_path / name) for name in ("a", "b")]
    for _ in asking:
        assert disk.began.acquire(timeout=SECONDS)
    disk.let_go.release(2)
    assert [one.end() for one in asking] == [None, None]


def test_an_fsync_that_fails_fails_for_all_whom_it_was_to_serve(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    disk.error = OSError(5, "Input/output error")
    first = Asking(shared, tmp_path)
    assert disk.began.acquire(timeout=SECONDS)
    others = [Asking(shared, tmp_path) for _ in range(3)]
    wait_for_joined(shared, tmp_path, 2)
    disk.let_go.release(2)
    for one in (first, *others):
        error = one.end()
        assert error is not None and error.errno == 5
    disk.error = None
    disk.let_go.release()
    assert Asking(shared, tmp_path).end() is None
