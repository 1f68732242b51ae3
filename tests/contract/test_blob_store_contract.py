"""What every blob store keeps: the fake, the folder with either kind of metadata, and a real S3 server."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.adapters.files import FolderStore
from services.common.adapters.s3 import S3Store
from services.common.errors import BlobMissing, Unavailable
from services.common.keys import new_key
from services.common.model import BlobRef
from services.common.ports import BlobStore
from tests.fakes.memory_store import MemoryStore

NOTES = {"data-set-sha256": "ab" * 32, "calling-aet": "CT%201", "data-set-offset": "372"}
LARGE = 5 * 2**20 * 2 + 12345
"""Bytes of a blob that the S3 adapter of these tests sends in three parts."""


@pytest.fixture(params=["memory", "folder-attributes", "folder-sidecar", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    match request.param:
        case "memory":
            return MemoryStore()
        case "s3":
            s3 = S3Store(request.getfixturevalue("s3_settings"))
            s3.prepare(7200.0)
            return s3
        case kind:
            return FolderStore(tmp_path / "blobs", extended_attributes=kind == "folder-attributes")


def put(store: BlobStore, key: str, content: bytes, metadata: dict[str, str] | None = None) -> BlobRef:
    writer = store.create(key)
    writer.write(content)
    return writer.commit(metadata or {})


def read(store: BlobStore, ref: BlobRef) -> bytes:
    with store.open(ref) as stream:
        return stream.readall()


def keys(store: BlobStore, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
    return [stat.key for stat in store.list(prefix, after=after, limit=limit)]


def test_what_was_written_comes_back(store: BlobStore) -> None:
    ref = put(store, "originals/a.dcm", b"hello world", NOTES)
    assert ref == BlobRef(bucket=store.bucket, key="originals/a.dcm", offset=0, length=11)
    assert read(store, ref) == b"hello world"


def test_stat_gives_size_time_and_metadata(store: BlobStore) -> None:
    put(store, "originals/a.dcm", b"hello world", NOTES)
    stat = store.stat("originals/a.dcm")
    assert (stat.key, stat.size, dict(stat.metadata)) == ("originals/a.dcm", 11, NOTES)
    assert abs(datetime.now(UTC) - stat.modified) < timedelta(seconds=10)


def test_a_large_blob_in_odd_pieces_comes_back_with_its_metadata(store: BlobStore) -> None:
    content = random.Random(1).randbytes(LARGE)
    writer = store.create("originals/large.dcm")
    reused = bytearray(70001)
    for start in range(0, LARGE, len(reused)):
        piece = content[start : start + len(reused)]
        reused[: len(piece)] = piece
        writer.write(memoryview(reused)[: len(piece)])
    ref = writer.commit(NOTES)
    reused[:] = bytes(len(reused))
    assert ref.length == LARGE
    assert hashlib.sha256(read(store, ref)).digest() == hashlib.sha256(content).digest()
    assert dict(store.stat("originals/large.dcm").metadata) == NOTES
    assert keys(store, "") == ["originals/large.dcm"]


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    ref = put(store, "config/empty", b"")
    assert read(store, ref) == b""
    assert store.stat("config/empty").size == 0


def test_a_part_is_read_exactly(store: BlobStore) -> None:
    ref = put(store, "originals/a.dcm", bytes(range(256)))
    assert read(store, ref.part(10, 20)) == bytes(range(10, 30))
    assert read(store, ref.part(255, 1)) == b"\xff"
    assert read(store, ref.part(256, 0)) == b""


def test_a_stream_gives_small_pieces_and_then_its_end(store: BlobStore) -> None:
    ref = put(store, "originals/a.dcm", bytes(range(256))).part(100, 10)
    buffer = bytearray(7)
    with store.open(ref) as stream:
        got = b""
        while count := stream.readinto(buffer):
            got += buffer[:count]
        assert got == bytes(range(100, 110))
        assert stream.read(1) == b""


def test_a_missing_object_is_a_missing_blob(store: BlobStore) -> None:
    put(store, "originals/2026/a.dcm", b"x")
    for key in ("originals/b.dcm", "originals/2026", "originals/2026/a.dcm/more", "elsewhere"):
        with pytest.raises(BlobMissing):
            store.open(BlobRef(bucket=store.bucket, key=key, offset=0, length=1))
        with pytest.raises(BlobMissing):
            store.stat(key)


def test_an_object_that_is_too_short_is_a_missing_blob(store: BlobStore) -> None:
    ref = put(store, "originals/a.dcm", b"0123456789")
    for part in (ref.part(5, 6), ref.part(10, 1), ref.part(11, 1), ref.part(11, 0)):
        with pytest.raises(BlobMissing):
            store.open(part)


def test_another_bucket_holds_nothing(store: BlobStore) -> None:
    put(store, "originals/a.dcm", b"x")
    with pytest.raises((BlobMissing, Unavailable)):
        store.open(BlobRef(bucket="elsewhere", key="originals/a.dcm", offset=0, length=1))


def test_nothing_is_visible_before_the_commit(store: BlobStore) -> None:
    writer = store.create("originals/a.dcm")
    writer.write(bytes(LARGE))
    assert keys(store, "") == []
    with pytest.raises(BlobMissing):
        store.stat("originals/a.dcm")
    writer.commit(NOTES)
    assert keys(store, "") == ["originals/a.dcm"]


@pytest.mark.parametrize("size", [0, 100, LARGE])
def test_an_aborted_blob_leaves_nothing(store: BlobStore, size: int) -> None:
    writer = store.create("originals/a.dcm")
    writer.write(bytes(size))
    writer.abort()
    writer.abort()
    assert keys(store, "") == []


def test_abort_after_commit_is_harmless(store: BlobStore) -> None:
    writer = store.create("originals/a.dcm")
    writer.write(b"kept")
    ref = writer.commit({})
    writer.abort()
    assert read(store, ref) == b"kept"


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_blob_may_be_committed_under_another_key(store: BlobStore, size: int) -> None:
    writer = store.create("originals/a.dcm")
    writer.write(bytes(size))
    ref = writer.commit(NOTES, key="quarantine/a.bin")
    assert (ref.key, ref.length) == ("quarantine/a.bin", size)
    assert read(store, ref) == bytes(size)
    assert keys(store, "") == ["quarantine/a.bin"]
    assert dict(store.stat("quarantine/a.bin").metadata) == NOTES


@pytest.mark.parametrize(("first", "second"), [(LARGE, 10), (10, LARGE), (10, 20)])
def test_a_second_commit_replaces_bytes_and_metadata(store: BlobStore, first: int, second: int) -> None:
    put(store, "config/nodes.json", bytes(first), NOTES)
    ref = put(store, "config/nodes.json", b"x" * second)
    assert read(store, ref) == b"x" * second
    assert dict(store.stat("config/nodes.json").metadata) == {}


def test_a_deleted_object_has_gone_and_may_be_deleted_again(store: BlobStore) -> None:
    put(store, "originals/a.dcm", bytes(LARGE), NOTES)
    put(store, "originals/b.dcm", b"b")
    store.delete("originals/a.dcm")
    store.delete("originals/a.dcm")
    store.delete("never/was")
    assert keys(store, "") == ["originals/b.dcm"]
    with pytest.raises(BlobMissing):
        store.stat("originals/a.dcm")


def test_a_key_that_comes_again_after_a_delete_has_its_own_metadata_only(store: BlobStore) -> None:
    put(store, "originals/a.dcm", bytes(LARGE), NOTES)
    store.delete("originals/a.dcm")
    put(store, "originals/a.dcm", bytes(LARGE))
    assert dict(store.stat("originals/a.dcm").metadata) == {}


def listed_keys() -> list[str]:
    """Names whose order as keys is not the order of the folders and files that they are made of."""
    when = datetime(2026, 11, 22, 13, 59, 58, tzinfo=UTC)
    timed = [new_key(when + timedelta(seconds=seconds)) for seconds in (0, 0, 1, 3, 70, 3600, 90000)]
    return [
        *timed,
        "a/b", "a-b", "a.json", "a0", "aa/b/c", "aa-b", "aa.b", "B", "a/b-", "a/b.", "a/b0",
        "quarantine/0193514fa9a87000a000000000000001.bin",
        "quarantine/0193514fa9a87000a000000000000001.json",
        "quarantine/0193514fa9a87000a000000000000002.json",
        "quarantine/0193514f-",
        "quarantine/0193514fa9a9/x",
        "quarantine/0193514g",
        "quarantine/0193515fa9a87000a000000000000002.json",
    ]  # fmt: skip


def test_keys_are_listed_in_byte_order_from_any_prefix_and_place(store: BlobStore) -> None:
    everything = sorted(listed_keys())
    for key in reversed(everything):
        put(store, key, b"x")
    prefixes = ["", "a", "a/", "a/b", "aa", "originals/", "originals/2026/11/22/14", "originals/2026/11/2"]
    prefixes += ["quarantine/0193514f", "quarantine/0193514fa9", "nothing/"]
    for prefix in prefixes:
        expected = [key for key in everything if key.startswith(prefix)]
        assert keys(store, prefix) == expected
        for after in [*everything, "a/", "a", "quarantine/01935", "originals/2026/11/22/14", "z", prefix]:
            assert keys(store, prefix, after) == [key for key in expected if key > after], (prefix, after)


def test_pages_join_to_the_whole_list(store: BlobStore) -> None:
    everything = sorted(listed_keys())
    for key in everything:
        put(store, key, b"x")
    for limit in (1, 3, 7):
        found: list[str] = []
        while page := keys(store, "", found[-1] if found else "", limit):
            assert len(page) <= limit
            found += page
        assert found == everything


def test_a_list_tells_sizes_and_times(store: BlobStore) -> None:
    put(store, "originals/a.dcm", b"12345", NOTES)
    [stat] = store.list("originals/")
    assert (stat.size, dict(stat.metadata)) == (5, {})
    assert abs(datetime.now(UTC) - stat.modified) < timedelta(seconds=10)


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.b", "a\0b", "a\nb", "a b",
     "ä", "a\\b", "a=b", "metadata/a.json", "x" * 201, "a/" * 500 + "a", "%2e%2e/a", "~", "t=01"],
)  # fmt: skip
def test_what_is_no_key_is_refused(store: BlobStore, key: str) -> None:
    for call in (store.create, store.stat, store.delete):
        with pytest.raises(ValueError, match="no key"):
            call(key)
    with pytest.raises(ValueError, match="no key"):
        store.open(BlobRef(bucket=store.bucket, key=key, offset=0, length=0))


def test_many_threads_write_and_read_at_once(store: BlobStore) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            content = random.Random(number * 100 + turn).randbytes(50_000)
            ref = put(store, new_key(datetime.now(UTC)), content, NOTES)
            assert read(store, ref) == content

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(keys(store, "originals/")) == 40
