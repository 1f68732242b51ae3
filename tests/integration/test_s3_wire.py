"""What the S3 store asks of its server: plain calls, signed bodies, bounded memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from pydantic import SecretStr

from services.common.adapters import s3 as s3_module
from services.common.adapters.s3 import S3Store
from services.common.errors import Unavailable
from services.common.settings import S3Settings
from tests.contract.test_blob_store_contract import LARGE, NOTES, put, read

PART = 5 * 2**20


class Recorder(BaseHTTPRequestHandler):
    """Accepts every call, notes what it was, and knows of two unfinished uploads."""

    seen: list[tuple[str, str, dict[str, str], bytes]] = []  # noqa: RUF012 - filled by the server's threads
    peers: set[tuple[str, int]] = set()  # noqa: RUF012 - as above
    answers: list[int] = []  # noqa: RUF012 - statuses of the next answers
    hangs_up = False
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        if self.hangs_up and self.client_address in self.peers:
            Recorder.hangs_up = False
            self.close_connection = True
            self.rfile.readline()
            return
        super().handle_one_request()

    def do_PUT(self) -> None:
        self._answer(b"", ETag='"x"')

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_DELETE(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        uploads = "".join(
            f"<Upload><Key>originals/{age}.dcm</Key><UploadId>{age}</UploadId>"
            f"<Initiated>{when:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for age, when in (("old", datetime.now(UTC) - timedelta(hours=3)), ("young", datetime.now(UTC)))
        )
        found = f"<IsTruncated>false</IsTruncated>{uploads}"
        self._answer(f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>".encode())

    def _answer(self, content: bytes, **headers: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append((self.command, self.path, sent, body))
        self.peers.add(self.client_address)
        self.send_response(self.answers.pop(0) if self.answers else 200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def recorded() -> Iterator[S3Store]:
    Recorder.seen.clear()
    Recorder.peers.clear()
    Recorder.answers.clear()
    Recorder.hangs_up = False
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield S3Store(
            S3Settings(
                endpoint=f"http://127.0.0.1:{server.server_address[1]}",
                access_key=SecretStr("key"),
                secret_key=SecretStr("secret"),
            )
        )
        server.shutdown()
        thread.join()


def test_a_small_blob_is_one_put_whose_sha256_is_signed(recorded: S3Store) -> None:
    put(recorded, "originals/a.dcm", b"hello" * 1000, NOTES)
    [(method, path, headers, body)] = Recorder.seen
    assert (method, path) == ("PUT", "/gantry/originals/a.dcm")
    assert body == b"hello" * 1000
    assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
    assert "x-amz-content-sha256" in headers["authorization"]
    assert headers["x-amz-meta-data-set-sha256"] == NOTES["data-set-sha256"]
    assert not [name for name in headers if "checksum" in name or name == "expect"]


def test_bytes_that_change_on_the_way_are_not_stored(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    send = URLLib3Session.send

    def corrupt(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        if request.method == "PUT":
            assert isinstance(request.body, bytearray)
            request.body = b"X" + request.body[1:]
        return send(session, request)

    monkeypatch.setattr(URLLib3Session, "send", corrupt)
    with pytest.raises(Unavailable, match="other bytes"):
        put(store, "originals/a.dcm", bytes(1000))
    with pytest.raises(Unavailable, match="SHA256"):
        put(store, "originals/a.dcm", bytes(LARGE))
    assert store.list("") == []


def test_bytes_that_are_not_those_of_the_digest_are_not_stored(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    writer = store.create("originals/a.dcm")
    writer.write(b"changed in memory")
    with pytest.raises(Unavailable, match="other bytes"):
        writer.commit(NOTES, sha256=hashlib.sha256(b"received").hexdigest())
    assert store.list("") == []


def test_a_hundred_small_blobs_are_a_hundred_requests_on_one_connection(recorded: S3Store) -> None:
    for number in range(100):
        put(recorded, f"originals/{number}.dcm", b"x" * 1000, NOTES)
    assert [path for _, path, _, _ in Recorder.seen] == [f"/gantry/originals/{n}.dcm" for n in range(100)]
    assert len(Recorder.peers) == 1


@pytest.mark.parametrize("status", [307, 403, 429, 500, 503])
def test_what_one_attempt_does_not_settle_is_left_to_boto3(recorded: S3Store, status: int) -> None:
    Recorder.answers[:] = [status]
    put(recorded, "originals/a.dcm", b"hello", NOTES)
    assert [(method, body) for method, _, _, body in Recorder.seen] == [("PUT", b"hello")] * 2
    put(recorded, "originals/b.dcm", b"hello", NOTES)
    assert len(Recorder.seen) == 3


def test_an_idle_connection_that_the_server_closed_is_replaced(recorded: S3Store) -> None:
    put(recorded, "originals/a.dcm", b"hello", NOTES)
    Recorder.hangs_up = True
    put(recorded, "originals/b.dcm", b"hello", NOTES)
    assert [path for _, path, _, _ in Recorder.seen] == ["/gantry/originals/a.dcm", "/gantry/originals/b.dcm"]


def test_what_others_put_into_the_bucket_is_passed_over(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    put(store, "originals/b.dcm", b"x")
    for key in ("a folder/", "originals/ä.dcm", "originals/a b.dcm", "metadata/x.json", "~"):
        store._clients.get().put_object(Bucket=store.bucket, Key=key, Body=b"")
    assert [found.key for found in store.list("")] == ["originals/b.dcm"]
    assert [found.key for found in store.list("", limit=1)] == ["originals/b.dcm"]
    assert store.list("", after="originals/b.dcm", limit=1) == []


def test_uploads_beyond_the_memory_budget_wait_on_disk(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "_SPOOL_BYTES", 1_000_000)
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    writers = [store.create(f"originals/{number}.dcm") for number in range(5)]
    piece = bytes(range(256)) * 256
    tracemalloc.start()
    for _ in range(60):
        for writer in writers:
            writer.write(piece)
    assert tracemalloc.get_traced_memory()[1] < 3_000_000  # of 20 MB that were written
    tracemalloc.stop()
    refs = [writer.commit(NOTES) for writer in writers]
    assert all(read(store, ref) == piece * 60 for ref in refs)
    writer = store.create("originals/after.dcm")
    writer.write(piece)
    assert read(store, writer.commit({})) == piece


def test_a_budget_is_given_back_by_commit_and_abort(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    before = store._budget._left
    put(store, "originals/a.dcm", bytes(LARGE))
    writer = store.create("originals/b.dcm")
    writer.write(bytes(1000))
    writer.abort()
    assert store._budget._left == before


def test_a_large_blob_takes_the_memory_of_a_part(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    put(store, "originals/warm.dcm", b"x")
    piece = bytes(128 * 1024)
    writer = store.create("originals/large.dcm")
    tracemalloc.start()
    for _ in range(400):  # 50 MB
        writer.write(piece)
    ref = writer.commit(NOTES)
    with store.open(ref) as stream:
        while stream.read(128 * 1024):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ref.length == 400 * len(piece)
    assert peak < 2.5 * PART


def test_more_streams_than_usual_pools_hold_are_open_at_once(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    ref = put(store, "originals/a.dcm", bytes(LARGE))
    streams = [store.open(ref) for _ in range(60)]
    with ThreadPoolExecutor(20) as threads:
        lengths = list(threads.map(lambda stream: len(stream.read(1000) or b""), streams))
    for stream in streams:
        stream.close()
    assert lengths == [1000] * 60


def test_preparing_forgets_old_uploads_and_no_young_ones(recorded: S3Store) -> None:
    recorded.prepare(7200.0)
    removed = [path for method, path, _, _ in Recorder.seen if method == "DELETE"]
    assert removed == ["/gantry/originals/old.dcm?uploadId=old"]


def test_an_aborted_upload_leaves_no_parts(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    store.prepare(7200.0)
    writer = store.create("originals/left.dcm")
    writer.write(bytes(PART + 1))
    client = store._clients.get()

    def uploads() -> int:
        answer = client.list_multipart_uploads(Bucket=store.bucket, Prefix="originals/left.dcm")
        return len(answer.get("Uploads", []))

    assert uploads() == 1
    writer.abort()
    assert uploads() == 0
