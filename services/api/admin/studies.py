"""The study list at ``/``, and its rows alone for who searches as they type."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.api.admin.page import PageRoute, page
from services.api.admin.rows import StudyRow
from services.api.admin.search import PAGE_SIZE, Search
from services.api.dependencies import Archive, Here

MODALITIES = (
    *("CR", "CT", "DX", "ES", "IO", "MG", "MR", "NM", "OPT", "OT", "PT"),
    *("PX", "RF", "RTPLAN", "SC", "SM", "SR", "US", "XA", "XC"),
)
"""What the form proposes (PS3.3 C.7.3.1.1.1); any other can be asked for by the address."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _search(
    patient: str = "",
    accession: str = "",
    modality: str = "",
    earliest: str = "",
    latest: str = "",
) -> Search:
    return Search(patient=patient, accession=accession, modality=modality, earliest=earliest, latest=latest)


Asked = Annotated[Search, Depends(_search)]
PageNumber = Annotated[int, Query(ge=1, le=100_000, alias="page")]


@router.get("/")
def studies(request: Request, archive: Here, search: Asked, number: PageNumber = 1) -> Response:
    """The study list."""
    found = _found(archive, search, number)
    modalities = sorted({*MODALITIES, search.modality.strip().upper()} - {""})
    return page(request, "studies.html", {**found, "modalities": modalities})


@router.get("/studies")
def studies_fragment(request: Request, archive: Here, search: Asked, number: PageNumber = 1) -> Response:
    """The rows alone."""
    return page(request, "_studies.html", _found(archive, search, number))


def _found(archive: Archive, search: Search, number: int) -> dict[str, object]:
    rows = [StudyRow.of(match.values) for match in archive.catalog.find(search.query(number))]
    return {
        "search": search,
        "studies": rows[:PAGE_SIZE],
        "first": (number - 1) * PAGE_SIZE + 1,
        "newer": search.address(number - 1) if number > 1 else None,
        "older": search.address(number + 1) if len(rows) > PAGE_SIZE else None,
    }
