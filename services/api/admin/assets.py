"""The files that the pages load: this package's own, and Swagger UI's from the package that carries it."""

from __future__ import annotations

import os
from pathlib import Path

import fastapi_offline
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

OWN = Path(__file__).parent / "static"
SWAGGER_UI = Path(fastapi_offline.__file__).parent / "static"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}


def is_asset(path: str) -> bool:
    """Whether a path names a file that a page loads rather than a page."""
    return Path(path).suffix.lower() in _MEDIA_TYPES


class Assets(StaticFiles):
    """A folder whose files are of the type that their names say, whatever the machine's own table holds.

    A browser asks each time whether its copy is still good.
    """

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = self.caching(Path(full_path))
        media_type = _MEDIA_TYPES.get(Path(full_path).suffix.lower())
        if media_type is not None and "content-type" in response.headers:
            response.headers["Content-Type"] = media_type
        return response

    def caching(self, file: Path) -> str:
        """How long a copy may be kept."""
        return "no-cache"
