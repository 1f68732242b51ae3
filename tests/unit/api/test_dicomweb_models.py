"""Catalog values and store responses as DICOM JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.api.dicomweb.models import element, model_of, retrieve_url, with_access
from services.api.dicomweb.store_answer import Refused, Said, store_answer
from services.common.attributes import BY_KEYWORD
from services.common.model import StoredInstance
from tests.fakes.made_instances import stored_instance

BASE = "https://pacs.example/prefix"


@pytest.mark.parametrize(
    ("vr", "text", "expected"),
    [
        ("LO", "", {"vr": "LO"}),
        ("LO", "a", {"vr": "LO", "Value": ["a"]}),
        ("CS", "CT\\PT", {"vr": "CS", "Value": ["CT", "PT"]}),
        ("CS", "CT\\\\PT", {"vr": "CS", "Value": ["CT", None, "PT"]}),
        ("IS", "12", {"vr": "IS", "Value": [12]}),
        ("IS", "twelve", {"vr": "IS", "Value": ["twelve"]}),
        ("US", "512", {"vr": "US", "Value": [512]}),
        ("PN", "Doe^Jane", {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}),
        (
            "PN",
            "=\u5c71\u7530=\u3084\u307e\u3060",
            {"vr": "PN", "Value": [{"Ideographic": "\u5c71\u7530", "Phonetic": "\u3084\u307e\u3060"}]},
        ),
    ],
)
def test_elements(vr: str, text: str, expected: dict[str, Any]) -> None:
    assert element(vr, text) == expected


def test_models_are_in_order_and_keep_empty_attributes() -> None:
    attributes = [BY_KEYWORD[keyword] for keyword in ("PatientName", "StudyDate", "PatientID")]
    model = model_of({"PatientID": "P1"}, attributes)
    assert list(model) == ["00080020", "00100010", "00100020"]
    assert model["00100010"] == {"vr": "PN"}
    url = retrieve_url({"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}, BASE)
    assert url == f"{BASE}/dicom-web/studies/1.2/series/1.3"
    assert list(with_access(model, url))[:3] == ["00080020", "00080056", "00081190"]


def answer(*outcomes: StoredInstance | Refused) -> tuple[int, dict[str, Any]]:
    response = store_answer(outcomes, BASE, "application/dicom+json")
    assert response.media_type == "application/dicom+json"
    return response.status_code, json.loads(bytes(response.body))


NAMED = Refused(said=Said(sop_class_uid="1.1", sop_instance_uid="1.9"), reason=0xA900, detail="why " * 40)
UNREADABLE = Refused(said=Said(), reason=0xC000, detail="not a DICOM file")


def test_all_stored() -> None:
    status, model = answer(stored_instance(1), stored_instance(2))
    assert status == 200
    assert model["00081190"]["Value"] == [f"{BASE}/dicom-web/studies/1.2.3"]
    first = model["00081199"]["Value"][0]
    assert first["00081155"]["Value"] == ["1.2.3.4.1"]
    assert first["00081190"]["Value"] == [
        f"{BASE}/dicom-web/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.1"
    ]
    assert "00081198" not in model


def test_some_stored() -> None:
    status, model = answer(stored_instance(1), NAMED)
    assert status == 202
    (failure,) = model["00081198"]["Value"]
    assert failure["00081197"]["Value"] == [0xA900]
    assert failure["00081155"]["Value"] == ["1.9"]
    assert len(failure["00000902"]["Value"][0]) == 64


def test_none_stored() -> None:
    status, model = answer(NAMED, UNREADABLE)
    assert status == 409
    assert model["00081190"] == {"vr": "UR"}
    assert "00081199" not in model
    (other,) = model["0008119A"]["Value"]
    assert other["00081197"]["Value"] == [0xC000]
    assert "00081155" not in other
