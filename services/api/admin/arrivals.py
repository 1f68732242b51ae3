"""What arrived last: over REST, as a page, and as the part of it that a page asks for again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.api.admin.page import PageRoute, page
from services.api.dependencies import Here

SHOWN = 50

router = APIRouter()
_pages = APIRouter(route_class=PageRoute, include_in_schema=False)


class ArrivalBody(BaseModel):
    """A study by when something of it came in last."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    description: str
    modalities: tuple[str, ...]
    instances: int
    last_received_at: datetime
    sources: tuple[str, ...] = Field(
        description="Calling AE titles; `stow` and `import` where there is none."
    )


@router.get("/api/arrivals", tags=["Arrivals"])
def list_arrivals(archive: Here, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[ArrivalBody]:
    """Studies, the one that something came in for last first."""
    return [ArrivalBody(**asdict(study)) for study in archive.arrivals.latest(limit)]


@_pages.get("/arrivals")
def arrivals(request: Request, archive: Here) -> Response:
    """The page."""
    return page(request, "arrivals.html", {"arrivals": archive.arrivals.latest(SHOWN)})


@_pages.get("/arrivals/latest")
def arrivals_fragment(request: Request, archive: Here) -> Response:
    """Its rows alone."""
    return page(request, "_arrivals.html", {"arrivals": archive.arrivals.latest(SHOWN)})


router.include_router(_pages)
