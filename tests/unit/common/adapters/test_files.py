"""The folder store: what is on the disk, what a crash leaves, and what a full disk answers."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.adapters import durable
from services.common.adapters.files import FolderStore
from services.common.errors import BlobMissing, Unavailable
from services.common.keys import new_entry_id, new_key
from services.common.model import BlobRef
from tests.contract.test_blob_store_contract import NOTES, put, read

TIMED_KEY = "originals/2026/11/22/14/0193514fa9a87000a000000000000001.dcm"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_and_folders_are_the_owners_alone(root: Path) -> None:
    put(FolderStore(root, extended_attributes=False), TIMED_KEY, b"x", NOTES)
    for path in [root.parent, root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_time_ordered_names_lie_in_folders_of_a_minute(root: Path) -> None:
    put(FolderStore(root, extended_attributes=True), TIMED_KEY, b"x")
    folder, name = TIMED_KEY.rsplit("/", 1)
    assert files_below(root) == [f"{folder}/t=0193514f/{name}"]


def test_a_file_system_with_attributes_gets_them(root: Path) -> None:
    put(FolderStore(root, extended_attributes=True), TIMED_KEY, b"x", NOTES)
    [path] = root.rglob("*.dcm")
    assert json.loads(os.getxattr(path, "user.gantry.notes")) == NOTES | {":size": 1}


def test_a_file_with_an_attribute_for_each_note_is_read(root: Path) -> None:
    store = FolderStore(root, extended_attributes=True)
    put(store, TIMED_KEY, b"x")
    [path] = root.rglob("*.dcm")
    os.removexattr(path, "user.gantry.notes")
    for name, value in NOTES.items():
        os.setxattr(path, f"user.gantry.{name}", value.encode())
    assert dict(store.stat(TIMED_KEY).metadata) == NOTES


def test_without_attributes_a_hidden_file_stands_beside(root: Path) -> None:
    store = FolderStore(root, extended_attributes=False)
    put(store, "originals/a.dcm", b"x", NOTES)
    assert files_below(root) == ["originals/.a.dcm.meta", "originals/a.dcm"]
    store.delete("originals/a.dcm")
    assert files_below(root) == []


def test_metadata_are_read_whichever_way_they_were_written(root: Path) -> None:
    put(FolderStore(root, extended_attributes=False), "originals/a.dcm", b"x", NOTES)
    put(FolderStore(root, extended_attributes=True), "originals/b.dcm", b"x", NOTES)
    for attributes in (False, True):
        store = FolderStore(root, extended_attributes=attributes)
        assert dict(store.stat("originals/a.dcm").metadata) == NOTES
        assert dict(store.stat("originals/b.dcm").metadata) == NOTES


def test_the_probe_finds_out_whether_attributes_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse)
    assert not FolderStore(root).extended_attributes
    assert files_below(root) == []


def test_opening_clears_away_old_leftovers_and_no_young_ones(root: Path) -> None:
    store = FolderStore(root)
    for name in ("old", "young"):
        (root / ".incoming" / name).write_bytes(b"left over")
    long_ago = time.time() - 101
    os.utime(root / ".incoming" / "old", (long_ago, long_ago))
    FolderStore(root, longest_put_seconds=100)
    assert files_below(root) == [".incoming/young"]
    assert store.list("") == []


_WRITE_FOR_EVER = """
import sys
from pathlib import Path
from services.common.adapters.files import FolderStore
store = FolderStore(Path(sys.argv[1]))
committed = store.create("originals/whole.dcm")
committed.write(b"whole")
committed.commit({})
writer = store.create("originals/partial.dcm")
writer.write(b"x" * 100_000)
print("writing", flush=True)
while True:
    writer.write(b"x")
"""


def test_a_process_killed_in_mid_write_leaves_no_visible_blob(root: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOR_EVER, root], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    store = FolderStore(root, longest_put_seconds=0)
    assert [found.key for found in store.list("")] == ["originals/whole.dcm"]
    assert files_below(root) == ["originals/whole.dcm"]


@pytest.fixture
def tight_disk() -> Iterator[None]:
    """Files of this process cannot grow beyond 4096 bytes."""
    old_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old_limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
    signal.signal(signal.SIGXFSZ, old_handler)


@pytest.mark.usefixtures("tight_disk")
def test_a_disk_that_takes_no_more_is_unavailable_and_leaves_nothing(root: Path) -> None:
    store = FolderStore(root)
    writer = store.create("originals/a.dcm")
    with pytest.raises(Unavailable):
        writer.write(bytes(10_000))
    writer.abort()
    assert files_below(root) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_fsync_that_fails_is_unavailable(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    store = FolderStore(root)
    writer = store.create("originals/a.dcm")
    writer.write(b"x")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unavailable, match=os.strerror(code)):
        writer.commit({})
    writer.abort()
    assert files_below(root) == []


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        FolderStore(tmp_path / "file" / "blobs")


def test_a_folder_that_somebody_removed_is_made_again(root: Path) -> None:
    store = FolderStore(root)
    put(store, "originals/2026/a.dcm", b"a")
    store.delete("originals/2026/a.dcm")
    (root / "originals" / "2026").rmdir()
    (root / "originals").rmdir()
    assert read(store, put(store, "originals/2026/b.dcm", b"b")) == b"b"


def test_bytes_are_fsynced_before_they_have_a_name_and_the_name_after(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(root, extended_attributes=True)
    put(store, "a/first", b"1")
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((target.relative_to(root).parts[0], (root / "a" / "blob").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    put(store, "a/blob", b"2", NOTES)
    assert synced == [(".incoming", False), ("a", True)]
    store.delete("a/blob")
    assert synced[2:] == [("a", False)]


def test_a_new_time_ordered_blob_is_fsynced_with_its_folder_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(root, extended_attributes=True)
    put(store, TIMED_KEY, b"the folders are made")
    key = TIMED_KEY.replace("01.dcm", "02.dcm")
    both = threading.Barrier(2, timeout=60)
    synced: set[bool] = set()
    fsync = os.fsync

    def note(descriptor: int) -> None:
        both.wait()  # neither ends before the other has begun
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().is_dir())
        assert store.stat(key).size == 2
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    put(store, key, b"ab", NOTES)
    assert synced == {True, False}


@pytest.mark.parametrize("failing", ["file", "folder"])
def test_a_new_blob_that_is_not_durable_is_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store = FolderStore(root, extended_attributes=True)
    put(store, TIMED_KEY, b"x")
    key = TIMED_KEY.replace("01.dcm", "02.dcm")
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir() == (failing == "folder"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    writer = store.create(key)
    writer.write(b"y")
    with pytest.raises(Unavailable, match="Input/output"):
        writer.commit(NOTES)
    writer.abort()
    assert [found.key for found in store.list("")] == [TIMED_KEY]


@pytest.mark.parametrize("left", [0, 50])
def test_a_name_that_power_loss_left_without_its_bytes_is_no_blob(root: Path, left: int) -> None:
    store = FolderStore(root, extended_attributes=True)
    put(store, TIMED_KEY, bytes(100), NOTES)
    [path] = root.rglob("*.dcm")
    os.truncate(path, left)
    with pytest.raises(BlobMissing, match=f"{left} of 100 bytes"):
        store.stat(TIMED_KEY)


def test_every_new_folder_is_fsynced_from_the_root_down(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(root)
    synced: list[str] = []

    def note(folder: Path) -> None:
        synced.append(str(folder.relative_to(root)))
        durable_sync(folder)

    durable_sync = durable.sync_folder
    monkeypatch.setattr(durable, "sync_folder", note)
    monkeypatch.setattr("services.common.adapters.files.sync_folder", note)
    put(store, "a/b/one", b"1")
    assert synced == [".", "a", "a/b"]
    put(store, "a/b/two", b"2")
    assert synced == [".", "a", "a/b", "a/b"]


def test_a_file_that_shrinks_while_it_is_read_is_a_missing_blob(root: Path) -> None:
    store = FolderStore(root)
    ref = put(store, "originals/a.dcm", bytes(100))
    with store.open(ref) as stream:
        assert stream.read(10) == bytes(10)
        os.truncate(root / "originals" / "a.dcm", 50)
        with pytest.raises(BlobMissing):
            stream.readall()


def test_open_streams_hold_their_descriptor_no_longer_than_needed(root: Path) -> None:
    store = FolderStore(root)
    ref = put(store, "originals/a.dcm", b"0123456789")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    store.open(ref).close()
    for wrong in (ref.part(0, 11), BlobRef(bucket="local", key="originals", offset=0, length=1)):
        with pytest.raises(BlobMissing):
            store.open(wrong)
    store.create("originals/b.dcm").abort()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_page_reads_only_the_folders_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(root)
    for day in range(1, 21):
        for hour in range(3):
            put(store, f"originals/2026/11/{day:02}/{hour:02}/a.dcm", b"x")
    read_folders: list[str] = []
    scandir = os.scandir

    def note(folder: Path) -> Iterator[os.DirEntry[str]]:
        read_folders.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", note)
    page = store.list("originals/", after="originals/2026/11/10/01/a.dcm", limit=2)
    assert [found.key for found in page] == [
        "originals/2026/11/10/02/a.dcm", "originals/2026/11/11/00/a.dcm",
    ]  # fmt: skip
    assert len(read_folders) <= 9  # the way down, two days, and an hour or two of each


def test_entry_names_of_the_quarantine_are_keys(root: Path) -> None:
    entry_id = new_entry_id(datetime.now(UTC))
    store = FolderStore(root)
    put(store, f"quarantine/{entry_id}.json", b"{}")
    assert [found.key for found in store.list("quarantine/")] == [f"quarantine/{entry_id}.json"]


def test_what_others_left_in_the_folder_is_passed_over(root: Path) -> None:
    store = FolderStore(root)
    put(store, "originals/a.dcm", b"x")
    (root / "lost+found").mkdir(mode=0)
    (root / "originals" / "a copy of a.dcm").write_bytes(b"")
    (root / "originals" / "a.dcm~").write_bytes(b"")
    assert [found.key for found in store.list("")] == ["originals/a.dcm"]


@pytest.mark.parametrize(("age", "remains"), [(timedelta(days=2), False), (timedelta(hours=3), True)])
def test_a_folder_of_a_past_minute_goes_with_its_last_file(root: Path, age: timedelta, remains: bool) -> None:
    store = FolderStore(root)
    when = datetime.now(UTC) - age
    keys = [new_key(when) for _ in range(2)]
    folders = set()
    for key in keys:
        put(store, key, b"x")
        folders |= {path.parent for path in root.rglob(key.rsplit("/", 1)[1])}
    store.delete(keys[0])
    assert all(folder.is_dir() for folder in folders)
    store.delete(keys[1])
    assert any(folder.is_dir() for folder in folders) is remains
    put(store, keys[0], b"again")
    assert [found.key for found in store.list("originals/")] == [keys[0]]
