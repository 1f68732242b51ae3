"""The Store Instances Response (PS3.18 10.5.3 and table I.2-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from services.api.dicomweb.models import Model, element
from services.api.dicomweb.resources import instance_url
from services.common.model import StoredInstance

_LONGEST_COMMENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a file says of itself; empty where it cannot be read."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An instance that was not stored: its Failure Reason (0008,1197), and why in words."""

    said: Said
    reason: int
    detail: str


def store_answer(outcomes: Sequence[StoredInstance | Refused], base: str, media_type: str) -> JSONResponse:
    """200 where all were stored, 202 where some were, 409 where none was."""
    stored = [one for one in outcomes if isinstance(one, StoredInstance)]
    refused = [one for one in outcomes if isinstance(one, Refused)]
    model: Model = {"00081190": element("UR", _study_url(stored, base))}
    if named := [_failure(one) | _reference(one.said) for one in refused if one.said.sop_instance_uid]:
        model["00081198"] = _sequence(named)
    if stored:
        model["00081199"] = _sequence([_success(one, base) for one in stored])
    if others := [_failure(one) for one in refused if not one.said.sop_instance_uid]:
        model["0008119A"] = _sequence(others)
    some_refused = HTTPStatus.ACCEPTED if stored else HTTPStatus.CONFLICT
    return JSONResponse(model, status_code=some_refused if refused else HTTPStatus.OK, media_type=media_type)


def _study_url(stored: Sequence[StoredInstance], base: str) -> str:
    """Where the study is, if all instances are of one."""
    studies = {one.key.study_instance_uid for one in stored}
    return f"{base}/dicom-web/studies/{studies.pop()}" if len(studies) == 1 else ""


def _sequence(items: Sequence[Model]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": [dict(sorted(item.items())) for item in items]}


def _success(stored: StoredInstance, base: str) -> Model:
    said = Said(sop_class_uid=stored.sop_class_uid, sop_instance_uid=stored.key.sop_instance_uid)
    return _reference(said) | {"00081190": element("UR", instance_url(base, stored.key))}


def _reference(said: Said) -> Model:
    return {
        "00081150": element("UI", said.sop_class_uid),
        "00081155": element("UI", said.sop_instance_uid),
    }


def _failure(refused: Refused) -> Model:
    """The reason as a code and, as dcm4chee gives it, in the words of a C-STORE's Error Comment."""
    return {
        "00000902": {"vr": "LO", "Value": [refused.detail[:_LONGEST_COMMENT]]},
        "00081197": {"vr": "US", "Value": [refused.reason]},
    }
