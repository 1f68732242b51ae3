"""A study: its series, and the instances of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.api.admin.page import PageRoute, page
from services.api.admin.rows import InstanceRow, SeriesRow, StudyRow
from services.api.dependencies import Archive, Here
from services.common import query
from services.common.attributes import BY_KEYWORD
from services.common.errors import NotFound
from services.common.matching import condition
from services.common.model import Level

INSTANCES_SHOWN = 200

router = APIRouter(prefix="/studies", route_class=PageRoute, include_in_schema=False)
_PageNumber = Annotated[int, Query(ge=1, le=100_000, alias="page")]


@router.get("/{uid}")
def study(request: Request, uid: str, archive: Here) -> Response:
    """A study and its series; one UID under two patients is shown as both."""
    studies = _studies(archive, uid)
    series = [SeriesRow.of(match.values) for match in archive.catalog.find(_query(Level.SERIES, study=uid))]
    return page(request, "study.html", {"studies": studies, "series": series})


@router.get("/{study_uid}/series/{uid}")
def series(request: Request, study_uid: str, uid: str, archive: Here, number: _PageNumber = 1) -> Response:
    """A series and its instances."""
    asked = _query(Level.SERIES, study=study_uid, series=uid)
    found = [SeriesRow.of(match.values) for match in archive.catalog.find(asked)]
    if not found:
        raise NotFound("the archive holds no such series")
    values = _instances(archive, study_uid, uid, number)
    return page(request, "series.html", {**values, "study": _studies(archive, study_uid)[0], "one": found[0]})


@router.get("/{study_uid}/series/{uid}/instances")
def series_fragment(
    request: Request, study_uid: str, uid: str, archive: Here, number: _PageNumber = 1
) -> Response:
    """The instances alone."""
    return page(request, "_instances.html", _instances(archive, study_uid, uid, number))


def _studies(archive: Archive, uid: str) -> Sequence[StudyRow]:
    found = [StudyRow.of(match.values) for match in archive.catalog.find(_query(Level.STUDY, study=uid))]
    if not found:
        raise NotFound("the archive holds no such study")
    return found


def _instances(archive: Archive, study_uid: str, uid: str, number: int) -> dict[str, object]:
    asked = _query(
        Level.IMAGE,
        study=study_uid,
        series=uid,
        limit=INSTANCES_SHOWN + 1,
        offset=(number - 1) * INSTANCES_SHOWN,
    )
    rows = [InstanceRow.of(match.values) for match in archive.catalog.find(asked)]
    return {
        "study_uid": study_uid,
        "series_uid": uid,
        "instances": rows[:INSTANCES_SHOWN],
        "number": number,
        "has_more": len(rows) > INSTANCES_SHOWN,
    }


def _query(
    level: Level, *, study: str, series: str = "", limit: int | None = None, offset: int = 0
) -> query.Query:
    """All below the UIDs.

    Raises:
        InvalidQuery: what should be a UID is none.
    """
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    asked = [condition(BY_KEYWORD[keyword], uid) for keyword, uid in named.items() if uid]
    conditions = tuple(one for one in asked if one is not None)
    return query.Query(level=level, conditions=conditions, limit=limit, offset=offset)
