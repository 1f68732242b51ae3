"""Everything of this package put into the application."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.routing import Mount

from services.api.admin import (
    arrivals,
    conflicts,
    documentation,
    login,
    nodes,
    nodes_rest,
    quarantine,
    quarantine_rest,
    studies,
    study,
)
from services.api.admin.assets import OWN, SWAGGER_UI, Assets
from services.api.admin.page import error_page, wants_page
from services.api.admin.viewer import viewer
from services.api.problems import problem
from services.common.settings import HttpSettings


def install(app: FastAPI, settings: HttpSettings) -> None:
    """Pages, sign-in, REST under ``/api``, ``/docs``, the viewer, and the files that pages load."""
    for room in (
        nodes_rest,
        quarantine_rest,
        arrivals,
        conflicts,
        studies,
        study,
        nodes,
        quarantine,
        login,
        documentation,
    ):
        app.include_router(room.router)
    app.add_exception_handler(HTTPStatus.NOT_FOUND, _nothing_there)
    app.router.routes += [
        Mount("/static/swagger-ui", Assets(directory=SWAGGER_UI)),
        Mount("/static", Assets(directory=OWN)),
        Mount("/viewer", viewer(settings)),
    ]


async def _nothing_there(request: Request, error: Exception) -> Response:
    """An address that there is nothing at: a page for a browser, a problem document for a program."""
    detail = "there is nothing at this address"
    if wants_page(request):
        return error_page(request, HTTPStatus.NOT_FOUND, detail)
    return problem(HTTPStatus.NOT_FOUND, detail)
