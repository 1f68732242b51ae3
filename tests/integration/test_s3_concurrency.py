"""Associations that store into an S3 server: none waits for another, and none leaves half an object."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydicom.uid import generate_uid

from services.common.adapters.s3 import S3Store
from services.common.settings import PostgresSettings, RedisSettings, S3Settings
from tests.fakes.raw_peer import p_data, pdv, raw_peer, store_rq
from tests.fleet import Fleet, Pod
from tests.senders import Modality, made_study
from tests.waiting import PATIENCE_SECONDS, wait_until

ASSOCIATIONS = 8
PART = 5 * 2**20


class Gate(BaseHTTPRequestHandler):
    """A store that confirms no image before as many have come whole as there are associations."""

    whole = threading.Barrier(ASSOCIATIONS)
    puts: list[str] = []  # noqa: RUF012 - filled by the server's threads
    peers: set[tuple[str, int]] = set()  # noqa: RUF012 - as above
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "/originals/" in self.path:
            self.puts.append(self.path)
            self.peers.add(self.client_address)
            self.whole.wait(PATIENCE_SECONDS)
        self._answer(HTTPStatus.OK)

    def do_GET(self) -> None:
        self._answer(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def gate() -> Iterator[S3Settings]:
    """A `Gate` that listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gate) as server:
        server.daemon_threads = True  # the pod keeps its connections
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield S3Settings(
            endpoint=f"http://127.0.0.1:{server.server_address[1]}",
            access_key=SecretStr("key"),
            secret_key=SecretStr("secret"),
        )
        server.shutdown()
        thread.join()


@pytest.fixture
def ingest(
    tmp_path: Path, postgres_settings: PostgresSettings, fresh_redis: RedisSettings
) -> Iterator[Callable[[S3Settings], tuple[Fleet, Pod]]]:
    """Starts an ingest pod of one process."""
    fleets: list[Fleet] = []

    def start(s3: S3Settings) -> tuple[Fleet, Pod]:
        fleets.append(
            Fleet(
                tmp_path,
                postgres=postgres_settings,
                redis=fresh_redis,
                s3=s3,
                GANTRY_DICOM__PROCESSES="1",
                GANTRY_S3__PART_BYTES=str(PART),
                GANTRY_S3__READ_TIMEOUT_SECONDS=str(PATIENCE_SECONDS),
            )
        )
        pod = fleets[-1].start("ingest")
        pod.wait_for_probe("/healthz")
        return fleets[-1], pod

    yield start
    for fleet in fleets:
        fleet.end()


@pytest.fixture
def postgres_settings(tmp_path: Path) -> PostgresSettings:
    """Of a server that is not there: ingest needs none."""
    return PostgresSettings(host=str(tmp_path))


@pytest.mark.timeout(400)
def test_associations_of_one_process_wait_for_the_store_side_by_side(
    ingest: Callable[[S3Settings], tuple[Fleet, Pod]],
) -> None:
    with gate() as s3:
        _, pod = ingest(s3)
        images = made_study(3 * ASSOCIATIONS)

        def send(number: int) -> int:
            modality = Modality(port=pod.port)
            modality.send(images[3 * number : 3 * number + 3])
            return len(modality.acknowledged)

        with ThreadPoolExecutor(ASSOCIATIONS) as senders:
            assert list(senders.map(send, range(ASSOCIATIONS))) == [3] * ASSOCIATIONS
    assert len(Gate.puts) == len(set(Gate.puts)) == 3 * ASSOCIATIONS
    assert len(Gate.peers) == ASSOCIATIONS


@pytest.mark.timeout(400)
def test_a_large_object_goes_up_as_it_comes_and_a_sender_that_vanishes_leaves_nothing(
    ingest: Callable[[S3Settings], tuple[Fleet, Pod]], s3_settings: S3Settings
) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    _, pod = ingest(s3_settings)
    with sending_a_large_object(pod):
        wait_until(lambda: uploads(store) == 1)
        assert store.list("originals/") == []
    wait_until(lambda: uploads(store) == 0)
    assert stored(store) == []


@pytest.mark.timeout(400)
def test_what_a_killed_pod_leaves_of_an_upload_is_cleared_away(
    ingest: Callable[[S3Settings], tuple[Fleet, Pod]], s3_settings: S3Settings
) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    _, pod = ingest(s3_settings)
    with sending_a_large_object(pod):
        wait_until(lambda: uploads(store) == 1)
        for child in Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        pod.process.kill()
        pod.process.wait()
    assert uploads(store) == 1
    store.prepare(3600.0)
    assert uploads(store) == 1
    store.prepare(-60.0)
    assert uploads(store) == 0
    assert stored(store) == []


@contextmanager
def sending_a_large_object(pod: Pod) -> Iterator[None]:
    """A sender that has sent two parts and a half of an object, and vanishes at the end of the block."""
    with raw_peer(pod.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, store_rq(uid=generate_uid()), command=True)))
        piece = p_data(pdv(3, bytes(16000), command=False, last=False))
        for _ in range(5 * PART // 2 // 16000):
            peer.send(piece)
        yield


def uploads(store: S3Store) -> int:
    """How many multipart uploads have begun and not ended."""
    client = store._clients.get()
    begun = client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
    return len(begun)


def stored(store: S3Store) -> list[str]:
    """Every key in the bucket, whoever's it is."""
    return [
        item["Key"] for item in store._clients.get().list_objects_v2(Bucket=store.bucket).get("Contents", [])
    ]
