"""What must not be asked of the archive over HTTP: each gets a precise answer, and none a 500."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import quote, urlsplit

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.archive import Archive, start_archive
from tests.archive import end as end_archive
from tests.dicomweb import ROOT, Answer, ask, instance_path, stow, wait_for_instances
from tests.senders import made_study, written
from tests.waiting import PATIENCE_SECONDS, wait_until

STOW = {"Content_Type": 'multipart/related; type="application/dicom"; boundary=cut'}
PART = b"--cut\r\nContent-Type: application/dicom\r\n\r\nnot DICOM\r\n"
PROBLEM = "application/problem+json"
CONNECTIONS = 100
SLOW = 500


@pytest.fixture(scope="module")
def image(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """An image that the archive holds."""
    images = made_study(1)
    (path,) = written(images, tmp_path_factory.mktemp("image"))
    assert stow(archive, [path.read_bytes()]).status == 200
    wait_for_instances(archive, [instance_path(images[0])])
    return images[0]


def connected(archive: Archive) -> socket.socket:
    """A connection to the archive, on which nothing has been said."""
    address = urlsplit(archive.url)
    return socket.create_connection((address.hostname, address.port or 80), timeout=60)


def read_to_end(peer: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    came = b""
    with suppress(ConnectionResetError):  # it may not have read all that was said
        while piece := peer.recv(65536):
            came += piece
    return came


def is_problem(answer: Answer, status: int) -> bool:
    """Whether it is a problem document (RFC 9457) of that status."""
    assert (answer.status, answer.content_type) == (status, PROBLEM), answer
    document = json.loads(answer.body)
    return document["status"] == status and bool(document["title"]) and bool(document["detail"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/abc", 400),
        ("/studies/*", 400),
        ("/studies/%00", 400),
        ("/studies/1.2%5C1.3", 400),
        (f"/studies/{'1' * 65}", 400),
        ("/studies/1.2/series/x/instances", 400),
        ("/studies/1.2/series/*/metadata", 400),
        ("/studies/1.2", 404),
        ("/studies/1.2/metadata", 404),
        ("/studies/1.2/rendered", 404),
        ("/studies/1.2/thumbnail", 404),
        ("/patients", 404),
        ("/studies/1.2/instances/1.3", 404),
        ("/studies/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/studies?limit=-1", 400),
        ("/studies?limit=many", 400),
        (f"/studies?limit={'9' * 5000}", 400),
        ("/studies?offset=-1", 400),
        ("/studies?offset=1.5", 400),
        ("/studies?StudyDate=2024", 400),
        ("/studies?StudyDate=20241301", 400),
        ("/studies?StudyDate=a-b", 400),
        ("/studies?StudyTime=99", 400),
        ("/studies?StudyInstanceUID=1.2,abc", 400),
        ("/studies?Rows=wide", 400),
        ("/studies?Nonsense=1", 400),
        ("/studies?PatientID.%0d%0aX-Injected=1", 400),
        ("/studies?%F0%28=1", 400),
        ("/studies?includefield=Nonsense", 400),
    ],
)
def test_broken_addresses_and_queries(archive: Archive, path: str, status: int) -> None:
    answer = ask(archive, ROOT + path)
    assert is_problem(answer, status)
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        "offset=9999999999",
        "limit=0",
        "StudyDate=20250101-20240101",
        "PatientName=%ff%fe",
        "PatientName=%ED%A0%80",
        f"PatientName={quote(chr(39) + chr(34) + chr(92) + '%_;--')}",
        f"AccessionNumber={'x' * 20000}",
        f"StudyInstanceUID={','.join(['1.2.3'] * 8000)}",
        "Rows=99999999999",
    ],
)
def test_odd_queries_match_nothing(archive: Archive, query: str) -> None:
    assert ask(archive, f"{ROOT}/studies?{query}").status == 204


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("frames/0", 400),
        ("frames/-1", 400),
        ("frames/1,", 400),
        ("frames/1,a", 400),
        ("frames/99999999999999999999", 400),
        ("frames/2", 404),
        ("frames/1,2", 404),
        ("frames/2/rendered", 404),
        ("frames/1,1/rendered", 406),
        ("bulkdata/", 404),
        ("bulkdata/00100010/0/00100010", 404),
        ("bulkdata/7FE00010/0/7FE00010", 404),
        ("bulkdata/../../../../etc/passwd", 404),
        ("bulkdata/..%2f..%2fetc%2fpasswd", 404),
        ("bulkdata/zzzzzzzz", 404),
        ("bulkdata/00080016/-1/00080016", 404),
        ("rendered?window=1", 400),
        ("rendered?window=1,0", 400),
        ("rendered?viewport=0,0", 400),
        ("rendered?viewport=9999999,9", 400),
        ("rendered?quality=0", 400),
        ("rendered?viewport=10,10,5000,5000,10,10", 406),
    ],
)
def test_broken_parts_of_an_instance(archive: Archive, image: Dataset, what: str, status: int) -> None:
    assert is_problem(ask(archive, f"{instance_path(image)}/{what}"), status)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "text/html"),
        ("", 'multipart/related; type="image/jp2"'),
        ("", "application/dicom; transfer-syntax=1.2.3"),
        ("/metadata", "application/dicom+xml"),
        ("/metadata", "*/*;q=0"),
        ("/frames/1", "multipart/related; type=image/jpeg"),
        ("/frames/1", "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50"),
        ("/bulkdata/7FE00010", "image/jp2"),
        ("/rendered", "application/dicom"),
        ("/thumbnail", "image/png"),
        ("/metadata", '"\\"' * 8000),
    ],
)
def test_media_types_that_cannot_be_had(archive: Archive, image: Dataset, path: str, accept: str) -> None:
    assert is_problem(ask(archive, instance_path(image) + path, Accept=accept), 406)


def test_long_frame_lists_are_answered(archive: Archive, image: Dataset) -> None:
    answer = ask(archive, f"{instance_path(image)}/frames/{','.join(['1'] * 5000)}")
    assert len(answer.parts()) == 5000


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("", b"", 415),
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=cut", PART + b"--cut--\r\n", 415),
        ('multipart/related; type="application/dicom+json"; boundary=cut', PART + b"--cut--\r\n", 415),
        ("application/dicom", b"", 400),
        (STOW["Content_Type"], b"", 400),
        (STOW["Content_Type"], b"--cut--\r\n", 400),
        (STOW["Content_Type"], b"no multipart", 400),
        (STOW["Content_Type"], PART, 400),
        (STOW["Content_Type"], PART + b"--cut", 400),
        (STOW["Content_Type"], PART[:20], 400),
        (STOW["Content_Type"], b"--cut\r\nX: " + b"y" * 10**6 + b"\r\n\r\nx\r\n--cut--\r\n", 400),
        (STOW["Content_Type"], b"--cut\r\n" + b"X: y\r\n" * 10**4 + b"\r\nx\r\n--cut--\r\n", 400),
        ('multipart/related; type="application/dicom"', PART + b"--cut--\r\n", 400),
        (f'multipart/related; type="application/dicom"; boundary={"x" * 400}', PART, 400),
    ],
)
def test_broken_bodies_are_refused(archive: Archive, content_type: str, body: bytes, status: int) -> None:
    answer = ask(archive, f"{ROOT}/studies", "POST", body, Content_Type=content_type)
    assert is_problem(answer, status)


def held(archive: Archive) -> int:
    """How many refused instances the archive has told of."""
    return len(archive.events("instance_refused"))


def test_garbage_is_quarantined_and_the_rest_stored(
    archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    good, nameless = made_study(2)
    del nameless.SeriesInstanceUID
    contents = [path.read_bytes() for path in written([good, nameless], tmp_path_factory.mktemp("some"))]
    before = held(archive)
    answer = stow(archive, [f"garbage of {good.SOPInstanceUID}".encode(), *contents, b""])
    assert answer.status == 202
    model = json.loads(answer.body)
    (stored,) = model["00081199"]["Value"]
    assert stored["00081155"]["Value"] == [good.SOPInstanceUID]
    (failed,) = model["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [nameless.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0xA900]
    assert failed["00000902"]["Value"] == ["(0020,000E) Series Instance UID is missing"]
    assert len(model["0008119A"]["Value"]) == 2
    assert held(archive) == before + 3
    wait_for_instances(archive, [instance_path(good)])


def test_garbage_alone_is_a_conflict(archive: Archive) -> None:
    answer = stow(archive, [b"garbage"])
    assert answer.status == 409
    assert json.loads(answer.body)["0008119A"]["Value"][0]["00081197"]["Value"] == [0xC000]


def test_an_instance_of_another_study_is_refused(
    archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (stranger,) = made_study(1)
    (path,) = written([stranger], tmp_path_factory.mktemp("stranger"))
    lines = len(archive.events("instance_refused"))
    answer = stow(archive, [path.read_bytes()], study=generate_uid())
    assert answer.status == 409
    (failed,) = json.loads(answer.body)["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [stranger.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0xA900]
    assert failed["00000902"]["Value"] == ["(0020,000D) Study Instance UID is not the one announced"]
    (line,) = archive.events("instance_refused")[lines:]
    assert (line["tag"], line["route"]) == ("(0020,000D)", "stow")
    entry = archive.json(f"/api/quarantine/{line['entry_id']}")
    assert entry["bytes"] > len(stranger.PixelData)
    assert is_problem(stow(archive, [b"x"], study="abc"), 400)


def test_one_file_alone_is_stored_too(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> None:
    (image,) = made_study(1)
    (path,) = written([image], tmp_path_factory.mktemp("alone"))
    answer = ask(archive, f"{ROOT}/studies", "POST", path.read_bytes(), Content_Type="application/dicom")
    assert answer.status == 200
    assert answer.content_type == "application/dicom+json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/studies"),
        ("DELETE", "/studies/1.2"),
        ("OPTIONS", "/studies"),
        ("FOO", "/series"),
        ("POST", "/series"),
    ],
)
def test_methods_that_are_not_there(archive: Archive, method: str, path: str) -> None:
    answer = ask(archive, ROOT + path, method)
    assert is_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_heads_say_what_a_get_would(archive: Archive, image: Dataset) -> None:
    path = instance_path(image)
    for what in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail"):
        head, get = ask(archive, path + what, "HEAD"), ask(archive, path + what)
        assert (head.status, head.body) == (get.status, b"")
        assert head.content_type.partition(";")[0] == get.content_type.partition(";")[0]
    assert ask(archive, f"{ROOT}/studies/1.2", "HEAD").status == 404


@pytest.mark.parametrize("host", ["[", "evil.example", "localhost:8\u00e9", "a@localhost", "", "localhost/x"])
def test_hosts_that_are_none(archive: Archive, host: str) -> None:
    where = urlsplit(archive.url)
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_SECONDS) as connection:
        request = f"GET {ROOT}/studies HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 ")), said[:200]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("requestType=WADO", 400),
        ("requestType=WADO&studyUID=1.2&seriesUID=1.3", 400),
        ("requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=x", 400),
        ("requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=*", 400),
        ("requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID=1.4", 404),
        ("{}&frameNumber=0", 400),
        (f"{{}}&frameNumber={'9' * 5000}", 400),
        ("{}&frameNumber=9", 404),
        ("{}&rows=wide", 400),
        ("{}&windowCenter=a&windowWidth=b", 400),
        ("{}&contentType=text/html", 406),
    ],
)
def test_broken_wado_uris(archive: Archive, image: Dataset, query: str, status: int) -> None:
    named = (
        f"requestType=WADO&studyUID={image.StudyInstanceUID}"
        f"&seriesUID={image.SeriesInstanceUID}&objectUID={image.SOPInstanceUID}"
    )
    assert is_problem(ask(archive, f"/wado?{query.format(named)}"), status)


@pytest.fixture(scope="module")
def guarded_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive behind a proxy, asked by a viewer of another origin, with a token."""
    running = start_archive(
        tmp_path_factory.mktemp("guarded"),
        GANTRY_HTTP__BEARER_TOKEN="a-long-enough-token",
        GANTRY_HTTP__ALLOWED_ORIGINS='["https://viewer.example"]',
        GANTRY_HTTP__ALLOWED_HOSTS='["pacs.example"]',
        GANTRY_HTTP__MAXIMUM_CONNECTIONS=str(CONNECTIONS),
    )
    yield running
    end_archive(running)


def test_preflight_with_authorization_passes_for_allowed_origins(guarded_archive: Archive) -> None:
    asked = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization,accept",
    }
    answer = ask(guarded_archive, f"{ROOT}/studies", "OPTIONS", Origin="https://viewer.example", **asked)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    stranger = ask(guarded_archive, f"{ROOT}/studies", "OPTIONS", Origin="https://evil.example", **asked)
    assert "access-control-allow-origin" not in stranger.headers


def test_another_origin_with_the_token_reads_and_stores(guarded_archive: Archive) -> None:
    said = {"Origin": "https://viewer.example", "Authorization": "Bearer a-long-enough-token"}
    answer = ask(guarded_archive, f"{ROOT}/studies", **said)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "Warning" in answer.headers["access-control-expose-headers"]
    refused = ask(guarded_archive, f"{ROOT}/studies", Origin="https://viewer.example")
    assert is_problem(refused, 401)
    assert refused.headers["access-control-allow-origin"] == "https://viewer.example"


def test_every_url_honours_the_proxy_in_front(
    guarded_archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (image,) = made_study(1)
    (path,) = written([image], tmp_path_factory.mktemp("proxied"))
    token = {"Authorization": "Bearer a-long-enough-token"}
    proxied = {"Forwarded": "for=10.1.1.1;proto=https;host=pacs.example", "X_Forwarded_Prefix": "/radiology/"}
    base = "https://pacs.example/radiology/dicom-web"
    url = base + instance_path(image).removeprefix(ROOT)
    stored = json.loads(stow(guarded_archive, [path.read_bytes()], **token, **proxied).body)
    assert stored["00081199"]["Value"][0]["00081190"]["Value"] == [url]
    wait_until(lambda: ask(guarded_archive, instance_path(image), "HEAD", **token).status == 200)
    (study,) = json.loads(ask(guarded_archive, f"{ROOT}/studies", **token, **proxied).body)
    assert study["00081190"]["Value"] == [f"{base}/studies/{image.StudyInstanceUID}"]
    for _ in range(2):  # made, and from the cache
        (model,) = json.loads(
            ask(guarded_archive, f"{instance_path(image)}/metadata", **token, **proxied).body
        )
        assert model["7FE00010"]["BulkDataURI"] == f"{url}/bulkdata/7FE00010"
    (model,) = json.loads(ask(guarded_archive, f"{instance_path(image)}/metadata", **token).body)
    assert model["7FE00010"]["BulkDataURI"].startswith(guarded_archive.url)
    (part,) = ask(guarded_archive, f"{instance_path(image)}/frames/1", **token, **proxied).parts()
    assert part.head["Content-Location"] == f"{url}/frames/1"


@pytest.mark.parametrize(
    ("said", "status"), [(b"GARBAGE\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431)]
)
def test_what_is_no_http_gets_a_problem_document(archive: Archive, said: bytes, status: int) -> None:
    with connected(archive) as peer:
        peer.sendall(said)
        head, _, body = read_to_end(peer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and PROBLEM.encode() in head
    assert json.loads(body)["status"] == status


def test_others_are_served_while_hundreds_of_connections_dawdle(guarded_archive: Archive) -> None:
    token = {"Authorization": "Bearer a-long-enough-token"}
    with ExitStack() as opened:
        slow = [opened.enter_context(connected(guarded_archive)) for _ in range(SLOW)]
        for peer in slow:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        for _ in range(5):
            assert ask(guarded_archive, "/healthz").status == 200
            assert ask(guarded_archive, "/", Accept="text/html", **token).status == 200
            assert ask(guarded_archive, f"{ROOT}/studies", **token).status in (200, 204)
        # Those that were there first had to make room, and were told so.
        for peer in slow[: SLOW - CONNECTIONS]:
            assert read_to_end(peer).startswith(b"HTTP/1.1 408 ")


def test_nothing_was_unforeseen(archive: Archive) -> None:
    assert "Traceback" not in archive.said()
