"""The REST interface described: Swagger UI at ``/docs``, from this machine alone."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.api.admin.page import POLICY, PageRoute, page

_POLICY = {**POLICY, "style-src": "'self' 'unsafe-inline'"}

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> Response:
    """Swagger UI on ``/openapi.json``."""
    return page(request, "docs.html", {}, policy=_POLICY)
