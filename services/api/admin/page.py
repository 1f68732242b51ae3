"""Pages: their templates, the headers that go with them, and errors as pages."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from services.api.addresses import base_url
from services.api.admin import wording
from services.api.dependencies import Archive
from services.api.problems import status_of
from services.common import logs
from services.common.errors import GantryError

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""Content Security Policy: whatever a page loads comes from this archive, and nothing is inline."""

_log = logs.get(__name__)
_templates = Environment(
    loader=PackageLoader("services.api.admin"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "person": wording.person,
    "day": wording.day,
    "clock": wording.clock,
    "moment": wording.moment,
    "iso": wording.iso,
    "uid_name": wording.uid_name,
    "tag_name": wording.tag_name,
    "count_of": wording.count_of,
    "shell": shlex.quote,
    "segment": lambda text: quote(text, safe=""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Where a page is: the path in front of all others, how to send images, whether one signs in."""

    root: str
    ae_title: str
    dicom_host: str
    dicom_port: int
    signs_in: bool


def secured(policy: dict[str, str]) -> dict[str, str]:
    """The headers of a page that is to be shown under `policy` alone, and is not to be kept."""
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def page(
    request: Request,
    template: str,
    values: dict[str, object],
    *,
    status: int = HTTPStatus.OK,
    policy: dict[str, str] = POLICY,
) -> HTMLResponse:
    """A template filled in; `here` and `path` are there for every one."""
    text = _templates.get_template(template).render(here=here(request), path=request.url.path, **values)
    return HTMLResponse(text, status_code=status, headers=secured(policy))


def here(request: Request) -> Here:
    """Where the page that answers `request` is."""
    archive: Archive = request.app.state.archive
    dicom = archive.settings.dicom
    base = urlsplit(base_url(request))
    is_everywhere = dicom.host in ("0.0.0.0", "::", "")
    return Here(
        root=base.path,
        ae_title=dicom.ae_title,
        dicom_host=(base.hostname or "") if is_everywhere else dicom.host,
        dicom_port=dicom.port,
        signs_in=archive.settings.http.bearer_token is not None,
    )


class PageRoute(APIRoute):
    """A route whose errors are pages too, for who asks for pages; others get problem documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, and its errors shown."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            if not wants_page(request):
                return await handle(request)
            try:
                return await handle(request)
            except GantryError as error:
                status = status_of(error)
                if status is HTTPStatus.INTERNAL_SERVER_ERROR:
                    _log.error("page_failed", path=request.url.path, kind=type(error).__name__)
                return error_page(request, status, str(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                return error_page(request, HTTPStatus.BAD_REQUEST, f"{first['loc'][-1]}: {first['msg']}")
            except HTTPException as error:
                return error_page(request, error.status_code, str(error.detail))

        return shown


def wants_page(request: Request) -> bool:
    """Whether a person asks, by a browser."""
    return "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, detail: str) -> HTMLResponse:
    """What went wrong, in words."""
    values: dict[str, object] = {"title": HTTPStatus(status).phrase, "detail": detail, "status": status}
    return page(request, "error.html", values, status=status)
