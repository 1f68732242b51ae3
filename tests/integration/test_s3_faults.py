"""The S3 store when its server is gone, frozen, or dies midway."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from services.common.adapters.s3 import S3Store
from services.common.errors import BlobMissing, Unavailable
from services.common.model import BlobRef
from services.common.settings import S3Settings
from tests.contract.test_blob_store_contract import LARGE, NOTES, put, read
from tests.servers_s3 import MinioServer
from tests.waiting import PATIENCE_SECONDS

PART = 5 * 2**20


SOON_SECONDS = 45.0
"""However slow the machine; with boto3's own patience a call would take minutes."""


@contextmanager
def soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON_SECONDS


@pytest.fixture
def store(minio: MinioServer) -> S3Store:
    found = S3Store(minio.settings("gantry"))
    found.prepare(7200.0)
    return found


def test_every_call_to_a_server_that_is_gone_is_unavailable_within_seconds(
    store: S3Store, minio: MinioServer
) -> None:
    ref = put(store, "originals/a.dcm", b"0123456789")
    writer = store.create("originals/b.dcm")
    writer.write(b"x")
    minio.stop()
    for call in (
        lambda: store.stat("originals/a.dcm"),
        lambda: store.open(ref),
        lambda: store.list("originals/"),
        lambda: store.delete("originals/a.dcm"),
        lambda: store.prepare(7200.0),
        lambda: writer.commit({}),
    ):
        with soon(), pytest.raises(Unavailable):
            call()
    writer.abort()


def test_the_same_store_serves_again_once_the_server_is_back(store: S3Store, minio: MinioServer) -> None:
    ref = put(store, "originals/a.dcm", b"kept", NOTES)
    minio.stop()
    with pytest.raises(Unavailable):
        store.stat(ref.key)
    minio.start()
    assert read(store, ref) == b"kept"
    assert dict(store.stat(ref.key).metadata) == NOTES
    put(store, "originals/b.dcm", b"new")


def test_a_server_that_dies_in_mid_upload_is_unavailable_and_shows_no_blob(
    store: S3Store, minio: MinioServer
) -> None:
    writer = store.create("originals/large.dcm")
    writer.write(bytes(PART + 1))  # the first part is there
    minio.stop()
    with soon(), pytest.raises(Unavailable):
        writer.write(bytes(PART))
    with soon():
        writer.abort()
    minio.start()
    assert store.list("") == []


def test_a_server_that_dies_before_the_parts_are_joined_shows_no_blob(
    store: S3Store, minio: MinioServer
) -> None:
    writer = store.create("originals/large.dcm")
    writer.write(bytes(PART + 1))
    minio.stop()
    with soon(), pytest.raises(Unavailable):
        writer.commit(NOTES)
    writer.abort()
    minio.start()
    with pytest.raises(BlobMissing):
        store.stat("originals/large.dcm")


def test_a_server_that_takes_connections_and_never_answers_is_unavailable(minio: MinioServer) -> None:
    settings = minio.settings("gantry")
    S3Store(settings).prepare(7200.0)
    store = S3Store(settings.model_copy(update={"read_timeout_seconds": 1.0}))
    writer = store.create("originals/a.dcm")
    writer.write(b"x" * 100_000)
    minio.freeze()
    try:
        with soon(), pytest.raises(Unavailable):
            writer.commit({})
        with soon(), pytest.raises(Unavailable):
            store.list("")
    finally:
        minio.thaw()


def test_a_stream_goes_on_after_the_server_was_restarted(store: S3Store, minio: MinioServer) -> None:
    content = bytes(range(256)) * (LARGE // 256)
    ref = put(store, "originals/large.dcm", content).part(1000, LARGE - 10_000)
    with store.open(ref) as stream:
        got = bytearray(stream.read(300_000) or b"")
        minio.stop()
        minio.start()
        while piece := stream.read(1_000_000):
            got += piece
    assert bytes(got) == content[1000 : 1000 + ref.length]


def test_a_stream_from_a_server_that_stays_away_is_unavailable(store: S3Store, minio: MinioServer) -> None:
    ref = put(store, "originals/large.dcm", bytes(4 * LARGE))
    with store.open(ref) as stream:
        assert stream.read(1000)
        minio.stop()
        with soon(), pytest.raises(Unavailable):
            stream.readall()


def test_a_blob_that_was_replaced_while_it_was_read_is_not_mixed(store: S3Store, minio: MinioServer) -> None:
    ref = put(store, "config/large", b"a" * LARGE)
    with store.open(ref) as stream:
        assert stream.read(1000) == b"a" * 1000
        minio.stop()
        minio.start()
        put(store, "config/large", b"b" * LARGE)
        with pytest.raises(Unavailable):
            while piece := stream.read(1_000_000):
                assert set(piece) == {ord("a")}


@pytest.mark.parametrize("wrong", ["access_key", "secret_key", "endpoint", "bucket"])
def test_settings_that_do_not_fit_are_unavailable_and_never_a_missing_blob(
    s3_settings: S3Settings, wrong: str
) -> None:
    S3Store(s3_settings).prepare(7200.0)
    values = {
        "access_key": "nobody",
        "secret_key": "wrong-secret",
        "endpoint": "http://127.0.0.1:1",
        "bucket": "gantry-not-there",
    }
    changed = s3_settings.model_dump() | {wrong: values[wrong]}
    store = S3Store(S3Settings.model_validate(changed))
    with pytest.raises(Unavailable):
        store.open(BlobRef(bucket=store.bucket, key="originals/a.dcm", offset=0, length=1))
    with pytest.raises(Unavailable):
        put(store, "originals/a.dcm", b"x")


def _put_in_child(store: S3Store, parents: object, connection: multiprocessing.connection.Connection) -> None:
    connection.send((put(store, "originals/child.dcm", b"child"), store._clients.get() is parents))


def test_a_forked_child_connects_anew(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    put(store, "originals/parent.dcm", b"parent")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_put_in_child, args=(store, store._clients.get(), there))
    child.start()
    assert here.poll(PATIENCE_SECONDS)
    ref, is_the_parents = here.recv()
    child.join()
    assert read(store, ref) == b"child"
    assert not is_the_parents


def test_preparing_twice_and_from_two_stores_is_harmless(s3_settings: S3Settings) -> None:
    for _ in range(2):
        S3Store(s3_settings).prepare(7200.0)
    assert S3Store(s3_settings).list("") == []
