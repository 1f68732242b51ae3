"""The admin's REST on a running archive."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError

from tests.archive import Archive
from tests.senders import Modality, made_study
from tests.waiting import PATIENCE_SECONDS, wait_until


def _ask(archive: Archive, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of one request."""
    request = urllib.request.Request(
        archive.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_node_lives_through_its_life(archive: Archive) -> None:
    body = {"aet": "RESTED", "host": "127.0.0.1", "port": archive.dicom_port, "description": "itself"}
    status, node = _ask(archive, "POST", "/api/nodes", body)
    assert status == 201 and node["transfer_syntax_uids"] == []
    status, refused = _ask(archive, "POST", "/api/nodes", body)
    assert (status, refused["detail"]) == (400, "a node RESTED is known already")
    assert "RESTED" in [node["aet"] for node in _ask(archive, "GET", "/api/nodes")[1]]
    status, answer = _ask(archive, "POST", "/api/nodes/RESTED/echo")
    assert status == 200 and answer["answered"] and answer["milliseconds"] > 0
    _ask(archive, "PUT", "/api/nodes/RESTED", {**body, "port": 1})
    status, answer = _ask(archive, "POST", "/api/nodes/RESTED/echo")
    assert status == 200 and not answer["answered"] and answer["reason"]
    assert _ask(archive, "DELETE", "/api/nodes/RESTED") == (204, None)
    assert _ask(archive, "DELETE", "/api/nodes/RESTED")[0] == 404
    assert _ask(archive, "POST", "/api/nodes/RESTED/echo")[0] == 404


def test_a_body_that_is_no_node_is_a_problem(archive: Archive) -> None:
    for body in (
        {"aet": "X"},
        {"aet": "X", "host": "h", "port": 0},
        {"aet": "X", "host": "h", "port": 1, "x": 1},
    ):
        status, problem = _ask(archive, "POST", "/api/nodes", body)
        assert status == 400 and problem["title"] == "Bad Request" and problem["detail"]


def test_what_arrived_names_its_sender(archive: Archive) -> None:
    images = made_study(2, patient_id="REST-ARRIVAL")
    Modality(archive.dicom_port, calling_aet="REST_SENDER").send(images)

    def arrived() -> list[Any]:
        found = _ask(archive, "GET", "/api/arrivals?limit=1000")[1]
        return [one for one in found if one["study_instance_uid"] == images[0].StudyInstanceUID]

    wait_until(lambda: [one["instances"] for one in arrived()] == [2])
    assert arrived()[0]["sources"] == ["REST_SENDER"]


def test_no_entry_of_the_quarantine_is_404(archive: Archive) -> None:
    assert _ask(archive, "GET", "/api/quarantine?limit=1")[0] == 200
    for entry_id in ("0" * 32, "no-id", "..%2F..%2Fconfig"):
        assert _ask(archive, "GET", f"/api/quarantine/{entry_id}")[0] == 404
    assert _ask(archive, "POST", f"/api/quarantine/{'0' * 32}/retry")[0] == 404


def test_every_interface_is_described(archive: Archive) -> None:
    paths = set(_ask(archive, "GET", "/openapi.json")[1]["paths"])
    assert {"/api/nodes", "/api/nodes/{aet}", "/api/quarantine/{entry_id}/retry", "/api/arrivals"} <= paths
    assert {"/dicom-web/studies", "/wado", "/healthz", "/readyz", "/metrics"} <= paths
    assert not paths & {"/", "/nodes", "/login", "/docs"}, "pages are no interface"
