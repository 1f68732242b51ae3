"""The viewer at ``/viewer/``: OHIF as `make viewer` installs it, or a page that says how to."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.admin.assets import Assets, is_asset
from services.api.admin.page import page, secured
from services.common.settings import HttpSettings

INDEX = "index.html"

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_NAMED_BY_CONTENT = re.compile(r"(^|\.)[0-9a-f]{20}\.")
_FOR_EVER = "private, max-age=31536000, immutable"


def viewer(settings: HttpSettings) -> ASGIApp:
    """What answers below ``/viewer``."""
    folder = settings.viewer_dir or Path(sys.prefix) / "share" / "gantry" / "viewer"
    return Viewer(folder) if (folder / INDEX).is_file() else explain


class Viewer(Assets):
    """The application's files; every other path is one of its own pages, which are all `INDEX`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._folder = folder
        self._headers = secured(_policy((folder / INDEX).read_text(encoding="utf-8")))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file of that path, else the application's page."""
        try:
            return await super().get_response(path if path not in ("", ".") else INDEX, scope)
        except HTTPException as error:
            if error.status_code != 404 or is_asset(path):
                raise
            return await super().get_response(INDEX, scope)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304; the application's page says what it may load."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        if Path(full_path).suffix == ".html":
            response.headers.update({**self._headers, "Cache-Control": self.caching(Path(full_path))})
        return response

    def caching(self, file: Path) -> str:
        """For ever where the name changes with the content, which is what a bundler's hash is for."""
        return _FOR_EVER if _NAMED_BY_CONTENT.search(file.name) else super().caching(file)


async def explain(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how the viewer is added."""
    await page(Request(scope), "no_viewer.html", {}, status=404)(scope, receive, send)


def _policy(index: str) -> dict[str, str]:
    """What OHIF needs: codecs in WebAssembly, workers from blobs, styles that its components write.

    The scripts in its page itself are allowed by their digests, and no others.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(index))
    inline = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return {
        "default-src": "'none'",
        "script-src": f"'self' 'wasm-unsafe-eval' {inline}",
        "worker-src": "'self' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' data: blob:",
        "frame-src": "'self' blob:",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
