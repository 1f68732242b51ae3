"""WADO-RS: the metadata of instances as DICOM JSON (PS3.18 10.4.1.1.2).

They are the original's, and frames are what they say; Available Transfer Syntax UID (PS3.18 10.6.3.3) tells
in which syntax frames come to a client that takes any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb.accept import accepted, choose
from services.api.dicomweb.frame_forms import stored_syntax
from services.api.dicomweb.models import element
from services.api.dicomweb.resources import instance_url, locate
from services.api.dicomweb.streaming import encoded, json_array
from services.api.model_cache import PLACE
from services.common.model import Location
from services.common.part10 import Header, dicom_json

JSON_TYPES = ("application/dicom+json", "application/json")

_AVAILABLE_TRANSFER_SYNTAX = "00083002"
_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"

router = APIRouter(prefix="/dicom-web", tags=["WADO-RS"])


@router.get(_STUDY + "/metadata")
def retrieve_study_metadata(study: str, request: Request, archive: Here) -> Response:
    """The metadata of all instances of a study, as DICOM JSON."""
    return _metadata(request, archive, locate(archive, study=study))


@router.get(_SERIES + "/metadata")
def retrieve_series_metadata(study: str, series: str, request: Request, archive: Here) -> Response:
    """The metadata of all instances of a series, as DICOM JSON."""
    return _metadata(request, archive, locate(archive, study=study, series=series))


@router.get(_SERIES + "/instances/{instance}/metadata")
def retrieve_instance_metadata(
    study: str, series: str, instance: str, request: Request, archive: Here
) -> Response:
    """The metadata of one instance, as DICOM JSON."""
    return _metadata(request, archive, locate(archive, study=study, series=series, instance=instance))


def _metadata(request: Request, archive: Archive, found: Sequence[Location]) -> Response:
    media_type = choose(accepted(request), JSON_TYPES)
    return json_array(request, _models(archive, found, base_url(request)), media_type)


def _models(archive: Archive, found: Sequence[Location], base: str) -> Iterator[bytes]:
    for location in found:
        model = archive.models.get(location.blob, partial(_model, location))
        yield model.replace(PLACE, instance_url(base, location.key).encode("ascii"))


def _model(location: Location) -> bytes:
    header = Header(location.header, location.transfer_syntax_uid)
    model = dict(dicom_json(header, lambda path: f"{PLACE.decode()}/bulkdata/{path}"))
    model[_AVAILABLE_TRANSFER_SYNTAX] = element("UI", stored_syntax(location))
    return encoded(dict(sorted(model.items())))
