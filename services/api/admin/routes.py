"""Everything of this package put into the application."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Mount

from services.api.admin import (
    arrivals,
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
from services.api.admin.viewer import viewer
from services.common.settings import HttpSettings


def install(app: FastAPI, settings: HttpSettings) -> None:
    """Pages, sign-in, REST under ``/api``, ``/docs``, the viewer, and the files that pages load."""
    for room in (
        nodes_rest,
        quarantine_rest,
        arrivals,
        studies,
        study,
        nodes,
        quarantine,
        login,
        documentation,
    ):
        app.include_router(room.router)
    app.router.routes += [
        Mount("/static/swagger-ui", Assets(directory=SWAGGER_UI)),
        Mount("/static", Assets(directory=OWN)),
        Mount("/viewer", viewer(settings)),
    ]
