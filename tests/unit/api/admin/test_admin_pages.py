"""The pages: what they show, how they escape it, and what they let a browser load."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from services.common.catalog.recent import ArrivedStudy
from services.common.errors import Unavailable
from services.common.model import Node, QuarantineEntry
from services.common.query import Match
from tests.fakes.web_archive import WebArchive

STUDY = {
    "StudyInstanceUID": "1.2.3",
    "PatientName": "Doe^Jane",
    "PatientID": "P1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20240131",
    "StudyTime": "1030",
    "AccessionNumber": "A1",
    "ModalitiesInStudy": "CT\\PT",
    "StudyDescription": "Chest",
    "NumberOfStudyRelatedSeries": "2",
    "NumberOfStudyRelatedInstances": "1200",
}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def web() -> WebArchive:
    return WebArchive()


def test_a_study_is_listed_in_words(web: WebArchive) -> None:
    web.catalog.matches = [Match(values=STUDY)]
    text = web.get("/").text
    for said in ("Doe, Jane", "P1", "1970-01-01", "2024-01-31", "10:30", "Chest", "1,200", "2 series"):
        assert said in text
    assert "/dicom-web/studies/1.2.3/thumbnail" in text
    assert "/viewer/viewer?StudyInstanceUIDs=1.2.3" in text
    assert web.catalog.queries[-1].newest_first


def test_an_empty_archive_says_how_to_send(web: WebArchive) -> None:
    assert "dcmsend -aec GANTRY 127.0.0.1 4711 +sd +r --no-halt FOLDER" in web.get("/").text


def test_nothing_found_is_not_an_empty_archive(web: WebArchive) -> None:
    text = web.get("/?patient=nobody").text
    assert "Nothing found" in text and "dcmsend" not in text


def test_the_rows_alone_are_no_page(web: WebArchive) -> None:
    web.catalog.matches = [Match(values=STUDY)]
    text = web.get("/studies?patient=doe").text
    assert "Doe, Jane" in text and "<html" not in text


def test_pages_lead_to_one_another(web: WebArchive) -> None:
    web.catalog.matches = [Match(values=STUDY)] * 51
    text = web.get("/?modality=CT&page=2").text
    assert 'href="/?modality=CT"' in text and 'href="/?modality=CT&amp;page=3"' in text
    assert "Studies 51–100" in text
    assert web.catalog.queries[-1].offset == 50


@pytest.mark.parametrize(
    "path", ["/", "/studies/1.2.3", "/studies/1.2.3/series/1.2.3.4", "/arrivals", "/nodes"]
)
def test_what_came_from_outside_is_escaped(web: WebArchive, path: str) -> None:
    values = {key: HOSTILE for key in STUDY if not key.startswith("Number")}
    uids = {"SeriesInstanceUID": HOSTILE, "SOPInstanceUID": HOSTILE, "SeriesDescription": HOSTILE}
    web.catalog.matches = [Match(values=values | uids)]
    web.arrivals.studies = [_arrived(HOSTILE)]
    assert "alert(1)" in web.get(path).text or path == "/nodes"
    assert "<script>alert" not in web.get(path).text
    assert "<img src=x" not in web.get(f"{path}?patient={HOSTILE}").text


def test_no_study_of_that_uid_is_a_page(web: WebArchive) -> None:
    answer = web.get("/studies/1.2.9")
    assert answer.status_code == 404
    assert "The archive holds no such study." in answer.text and "text/html" in answer.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/?earliest=tomorrow", "/?page=0", "/studies/no-uid"])
def test_a_question_that_cannot_be_understood_is_400(web: WebArchive, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 400 and "<h1>Bad Request</h1>" in answer.text


def test_a_catalog_that_is_down_is_said_so(web: WebArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(limit: int) -> list[ArrivedStudy]:
        raise Unavailable("PostgreSQL does not answer")

    monkeypatch.setattr(web.arrivals, "latest", down)
    answer = web.get("/arrivals")
    assert answer.status_code == 503 and "Nothing is lost" in answer.text


def test_a_study_uid_of_two_patients_is_shown_as_both(web: WebArchive) -> None:
    other = {**STUDY, "PatientName": "Roe^Richard", "SeriesInstanceUID": "1.2.3.4"}
    web.catalog.matches = [Match(values={**STUDY, "SeriesInstanceUID": "1.2.3.5"}), Match(values=other)]
    text = web.get("/studies/1.2.3").text
    assert "under 2 patients" in text and "Doe, Jane" in text and "Roe, Richard" in text


def test_an_instance_is_downloaded_as_it_is_stored(web: WebArchive) -> None:
    values = {**STUDY, "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
    web.catalog.matches = [Match(values=values)]
    text = web.get("/studies/1.2.3/series/1.2.3.4/instances").text
    assert re.search(r'href="/wado\?[^"]*objectUID=1\.2\.3\.4\.5&amp;[^"]*useOrig=true"', text)


@pytest.mark.parametrize("path", ["/", "/studies", "/arrivals", "/nodes", "/quarantine", "/docs", "/viewer/"])
def test_a_page_loads_from_this_archive_alone(web: WebArchive, path: str) -> None:
    answer = web.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"https?://", answer.text), "a page names another host"
    assert not re.search(r"<script>|<style>|\son\w+=|\sstyle=", answer.text), "the policy forbids inline code"


def test_every_file_that_pages_load_is_there(web: WebArchive) -> None:
    for path in ("/", "/docs"):
        for url in re.findall(r'(?:href|src)="(/static/[^"]+)"', web.get(path).text):
            answer = web.ask("GET", url)
            assert answer.status_code == 200, url
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[
                url.rpartition(".")[2]
            ] in answer.headers["Content-Type"]


def test_links_keep_the_prefix_of_a_proxy(web: WebArchive) -> None:
    text = web.get("/", headers={"X-Forwarded-Prefix": "/pacs"}).text
    assert 'href="/pacs/static/gantry.css"' in text and 'action="/pacs/"' in text
    assert not re.search(r'(?:href|src|action)="/(?!pacs)', text)


def test_a_node_is_added_and_removed(web: WebArchive) -> None:
    form = {"aet": " WS1 ", "host": "10.0.0.7", "port": "104", "description": "Reading room"}
    answer = web.ask("POST", "/nodes", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/nodes")
    assert "10.0.0.7:104" in web.get("/nodes").text and "Reading room" in web.get("/nodes").text
    web.ask("POST", "/nodes/remove", data={"aet": "WS1"})
    assert "No nodes yet" in web.get("/nodes").text


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"port": "x"}, "a port is a number"), ({"host": "a b"}, "host is no name"), ({"aet": ""}, "AE title")],
)
def test_a_node_that_cannot_be_is_asked_for_again(
    web: WebArchive, changed: dict[str, str], said: str
) -> None:
    form = {"aet": "WS1", "host": "10.0.0.7", "port": "104", "description": "kept", **changed}
    answer = web.ask("POST", "/nodes", data=form)
    assert answer.status_code == 400
    assert said in answer.text and 'value="kept"' in answer.text


def test_a_node_that_does_not_answer_is_said_so(web: WebArchive) -> None:
    web.ask("POST", "/nodes", data={"aet": "DEAF", "host": "127.0.0.1", "port": "1"})
    answer = web.ask("POST", "/nodes/echo", data={"aet": "DEAF"})
    assert answer.status_code == 200 and "did not answer C-ECHO" in answer.text


def test_the_quarantine_is_paged_shown_and_retried(web: WebArchive) -> None:
    for number in range(51):
        web.quarantine.hold(_held(f"{number:032x}", reason=f"reason {number}"))
    text = web.get("/quarantine").text
    assert "reason 49" in text and "reason 50" not in text and "(0020,000D) StudyInstanceUID" in text
    assert "reason 50" in web.get(f"/quarantine?after={49:032x}").text
    assert "&#34;source&#34;: 1" in web.get(f"/quarantine/{0:032x}").text
    answer = web.ask("POST", f"/quarantine/{0:032x}/retry")
    assert "the entry holds no bytes" in answer.text


def test_what_arrived_is_shown_with_whom_it_came_from(web: WebArchive) -> None:
    web.arrivals.studies = [_arrived("Doe^Jane")]
    text = web.get("/arrivals").text
    assert "Doe, Jane" in text and "CT1" in text and "2026-01-02 03:04:05 UTC" in text
    assert "<html" not in web.get("/arrivals/latest").text


def test_a_node_of_another_site_is_refused(web: WebArchive) -> None:
    answer = web.ask("POST", "/nodes", data={"aet": "X"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_rest_speaks_of_the_same_nodes(web: WebArchive) -> None:
    body = {"aet": "A/B", "host": "localhost", "port": 104}
    assert web.ask("POST", "/api/nodes", json=body).status_code == 201
    answer = web.ask("PUT", "/api/nodes/A%2FB", json={**body, "port": 105})
    assert answer.json()["port"] == 105
    assert [node["aet"] for node in web.ask("GET", "/api/nodes").json()] == ["A/B"]
    assert web.ask("POST", "/api/nodes/A%2FB/echo").json()["answered"] is False
    assert web.ask("DELETE", "/api/nodes/A%2FB").status_code == 204
    answer = web.ask("GET", "/api/nodes/A%2FB")
    assert answer.status_code == 404 and answer.headers["Content-Type"] == "application/problem+json"


def test_a_rest_node_has_every_attribute_of_a_node() -> None:
    from services.api.admin.nodes_rest import NodeBody

    assert set(NodeBody.model_fields) == set(Node.__dataclass_fields__)


def _arrived(name: str) -> ArrivedStudy:
    return ArrivedStudy(
        study_instance_uid="1.2.3",
        patient_name=name,
        patient_id="P1",
        description=name,
        modalities=("CT",),
        instances=3,
        last_received_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        sources=("CT1",),
    )


def _held(entry_id: str, *, reason: str) -> QuarantineEntry:
    return QuarantineEntry(
        entry_id=entry_id,
        kind="instance",
        reason=reason,
        payload='{"source": 1}',
        held_at=datetime(2026, 1, 2, tzinfo=UTC),
        tag=0x0020000D,
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [("/?page=0", 400), ("/?earliest=tomorrow", 400), ("/studies/1.2.9", 404), ("/nothing/here", 404)],
)
def test_an_error_is_a_page_for_a_browser_and_a_problem_document_for_a_program(
    web: WebArchive, path: str, status: int
) -> None:
    page = web.get(path)
    assert page.status_code == status and page.headers["Content-Type"].startswith("text/html")
    for accept in ("*/*", "application/json"):
        answer = web.ask("GET", path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status and answer.json()["detail"]
