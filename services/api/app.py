"""The HTTP application: guards in front, then DICOMweb, WADO-URI, the admin's REST and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from services.api import health, problems, wado_uri
from services.api.admin import routes as admin
from services.api.dependencies import Archive
from services.api.dicomweb import bulkdata, frames, metadata, qido, rendered, stow, wado
from services.api.guard import Guard
from services.api.heads import HeadAsGet

_EXPOSED = ("Content-Encoding", "Content-Location", "Location", "Retry-After", "Warning", "WWW-Authenticate")
"""Headers that scripts of other origins may read: with credentials a wildcard names none (Fetch 3.3.5)."""


def create_app(archive: Archive) -> FastAPI:
    """The application on `archive`, which it closes when it shuts down."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        archive.close()

    http = archive.settings.http
    middleware = [Middleware(Guard, settings=http), Middleware(HeadAsGet)]
    if http.allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=http.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            allow_credentials=True,
        )
        middleware.insert(0, cors)
    middleware.insert(0, Middleware(problems.PlainErrors))
    app = FastAPI(
        title="Gantry",
        version="0.1.0",
        lifespan=lifespan,
        middleware=middleware,
        docs_url=None,
        redoc_url=None,
    )
    app.state.archive = archive
    problems.install(app)
    for room in (health, qido, wado, metadata, frames, bulkdata, rendered, stow, wado_uri):
        app.include_router(room.router)
    admin.install(app, http)
    return app
