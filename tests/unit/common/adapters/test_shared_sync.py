"""One fsync of a folder for all who wait for it, and none that began before the change that it is to keep."""

from __future__ import annotations

import threading
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


def test_all_who_come_during_an_fsync_share_the_next(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    first = shared.begin(tmp_path)
    assert disk.began.acquire(timeout=SECONDS)
    others = [shared.begin(tmp_path) for _ in range(5)]
    assert first not in others, "the fsync that runs may have missed their changes"
    disk.let_go.release()
    first.result(SECONDS)
    assert disk.began.acquire(timeout=SECONDS)
    assert not any(other.done() for other in others)
    disk.let_go.release()
    assert [other.result(SECONDS) for other in others] == [None] * 5
    assert disk.begun == [tmp_path] * 2


def test_each_folder_is_synced(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    begun = [shared.begin(folder) for folder in folders]
    disk.let_go.release(3)
    assert [one.result(SECONDS) for one in begun] == [None] * 3
    assert disk.begun == folders


def test_an_fsync_that_fails_fails_for_all_whom_it_was_to_serve(disk: Disk, tmp_path: Path) -> None:
    shared = SharedSync()
    disk.error = OSError(5, "Input/output error")
    first = shared.begin(tmp_path)
    assert disk.began.acquire(timeout=SECONDS)
    others = [shared.begin(tmp_path) for _ in range(3)]
    disk.let_go.release(2)
    for one in (first, *others):
        error = one.exception(SECONDS)
        assert isinstance(error, OSError) and error.errno == 5
    disk.error = None
    disk.let_go.release()
    shared.begin(tmp_path).result(SECONDS)
