"""QIDO-RS: search for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb.accept import accepted, choose
from services.api.dicomweb.fields import belongs
from services.api.dicomweb.metadata import JSON_TYPES
from services.api.dicomweb.models import Model, model_of, retrieve_url, with_access
from services.api.dicomweb.search import Search, parse
from services.api.dicomweb.streaming import encoded, json_array
from services.common.model import Level
from services.common.part10 import Header, dicom_json
from services.common.query import Match

router = APIRouter(prefix="/dicom-web", tags=["QIDO-RS"])


@router.get("/studies")
def search_studies(request: Request, archive: Here) -> Response:
    """Search for studies."""
    return _answer(request, archive, Level.STUDY, {})


@router.get("/series")
def search_all_series(request: Request, archive: Here) -> Response:
    """Search for series of all studies."""
    return _answer(request, archive, Level.SERIES, {})


@router.get("/studies/{study}/series")
def search_series(study: str, request: Request, archive: Here) -> Response:
    """Search for series of a study."""
    return _answer(request, archive, Level.SERIES, {"StudyInstanceUID": study})


@router.get("/instances")
def search_all_instances(request: Request, archive: Here) -> Response:
    """Search for instances of all studies."""
    return _answer(request, archive, Level.IMAGE, {})


@router.get("/studies/{study}/instances")
def search_study_instances(study: str, request: Request, archive: Here) -> Response:
    """Search for instances of a study."""
    return _answer(request, archive, Level.IMAGE, {"StudyInstanceUID": study})


@router.get("/studies/{study}/series/{series}/instances")
def search_instances(study: str, series: str, request: Request, archive: Here) -> Response:
    """Search for instances of a series."""
    path = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    return _answer(request, archive, Level.IMAGE, path)


def _answer(request: Request, archive: Archive, level: Level, path: Mapping[str, str]) -> Response:
    media_type = choose(accepted(request), JSON_TYPES)
    search = parse(level, path, request.query_params.multi_items())
    found, more = _find(archive, search)
    headers = _warnings(search, more=more)
    if not found:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    base = base_url(request)
    return json_array(request, _models(found, search, base), media_type, headers)


def _find(archive: Archive, search: Search) -> tuple[Sequence[Match], bool]:
    """The matches asked for, and whether there are more: one more than the limit tells."""
    limit = search.query.limit or 0
    if not limit:
        return [], False
    found = list(archive.catalog.find(replace(search.query, limit=limit + 1)))
    return found[:limit], len(found) > limit


def _models(found: Sequence[Match], search: Search, base: str) -> Iterator[bytes]:
    for match in found:
        model = model_of(match.values, search.columns) | _from_header(match, search)
        yield encoded(with_access(model, retrieve_url(match.values, base)))


def _from_header(match: Match, search: Search) -> Model:
    """What the catalog has no column for."""
    if match.header is None:
        return {}
    header = Header(match.header, match.transfer_syntax_uid)
    has_column = {attribute.tag for attribute in search.columns}
    wanted = {tag for tag in search.others if header.element(tag) is not None}
    if search.everything:
        level = search.query.level
        wanted |= {element.tag for element in header.elements() if belongs(element.tag, level)}
    wanted -= has_column
    return dicom_json(header, None, only=wanted) if wanted else {}


def _warnings(search: Search, *, more: bool) -> Mapping[str, str]:
    said = []
    if search.unsupported:
        said.append(f"these parameters were not matched on: {', '.join(search.unsupported)}")
    if more:
        said.append("there are more results than the limit")
    return {"Warning": f'299 gantry "{"; ".join(said)}"'} if said else {}
