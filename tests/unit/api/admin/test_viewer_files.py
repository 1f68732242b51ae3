"""How the viewer's files are served."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.fakes.web_archive import WebArchive

SCRIPT = "window.PUBLIC_URL = '/viewer/';"
BUNDLE = "app.bundle.26b7eafdf05b5445414b.js"


@pytest.fixture
def web(tmp_path: Path) -> WebArchive:
    folder = tmp_path / "viewer"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(f"<title>OHIF</title><script>{SCRIPT}</script>")
    (folder / BUNDLE).write_text("1;")
    (folder / "app-config.js").write_text("2;")
    (folder / "17dd54813d5acc10bf8f.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text("secret")
    return WebArchive(viewer_dir=folder)


@pytest.mark.parametrize("path", ["/viewer/", "/viewer/viewer?StudyInstanceUIDs=1.2", "/viewer/a/b.c"])
def test_every_page_of_the_application_is_its_index(web: WebArchive, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 200 and "<title>OHIF" in answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_without_a_slash_the_viewer_is_found(web: WebArchive) -> None:
    answer = web.get("/viewer")
    assert answer.status_code in (307, 308) and answer.headers["Location"].endswith("/viewer/")


def test_scripts_in_the_page_are_allowed_by_their_digests(web: WebArchive) -> None:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = web.get("/viewer/").headers["Content-Security-Policy"]
    assert f"'sha256-{digest}'" in policy
    assert "'wasm-unsafe-eval'" in policy and "'unsafe-eval'" not in policy
    assert "worker-src 'self' blob:" in policy and "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("name", "media_type", "caching"),
    [
        (BUNDLE, "text/javascript; charset=utf-8", "private, max-age=31536000, immutable"),
        ("17dd54813d5acc10bf8f.wasm", "application/wasm", "private, max-age=31536000, immutable"),
        ("app-config.js", "text/javascript; charset=utf-8", "no-cache"),
    ],
)
def test_files_have_their_type_and_are_kept_while_their_name_holds(
    web: WebArchive, name: str, media_type: str, caching: str
) -> None:
    answer = web.ask("GET", f"/viewer/{name}")
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Cache-Control"] == caching
    again = web.ask("GET", f"/viewer/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["missing.js", "missing.wasm", "assets/missing.png"])
def test_a_file_that_is_not_there_is_no_page(web: WebArchive, path: str) -> None:
    assert web.ask("GET", f"/viewer/{path}").status_code == 404


@pytest.mark.parametrize("path", ["..%2Fsecret.txt", "%2e%2e/secret.txt", "assets/..%2f..%2fsecret.txt"])
def test_nothing_outside_the_folder_is_served(web: WebArchive, path: str) -> None:
    answer = web.ask("GET", f"/viewer/{path}")
    assert "secret" not in answer.text and answer.status_code in (404, 200)


def test_an_absent_viewer_says_how_it_is_added() -> None:
    answer = WebArchive().get("/viewer/viewer?StudyInstanceUIDs=1.2")
    assert answer.status_code == 404 and "make viewer" in answer.text


@pytest.mark.parametrize(("asked", "status"), [("bytes=9999-", 416), ("lines=1-2", 400), ("bytes=1-0", 400)])
@pytest.mark.parametrize("path", [f"/viewer/{BUNDLE}", "/static/gantry.css"])
def test_a_range_that_is_not_there_is_a_problem_document(
    web: WebArchive, path: str, asked: str, status: int
) -> None:
    answer = web.get(path, headers={"Range": asked.replace("9999", "99999")})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status and answer.json()["detail"]
    assert answer.headers.get("Content-Range", "").startswith("bytes */") == (status == 416)
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_range_that_is_there_is_given(web: WebArchive) -> None:
    answer = web.get(f"/viewer/{BUNDLE}", headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.content) == (206, b"1")
