"""Who may speak to the HTTP listener: known hosts, same-site state changes, and bearers of the token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.addresses import base_url, host_name, public_host
from services.api.problems import problem
from services.common.errors import GantryError
from services.common.settings import HttpSettings

COOKIE = "gantry_session"
LOGIN_PATH = "/login"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = ("/healthz", "/readyz", LOGIN_PATH, "/static/")


class NotGuarded(GantryError):
    """HTTP beyond loopback needs authentication: set GANTRY_HTTP__BEARER_TOKEN."""


def check_listener(settings: HttpSettings) -> None:
    """Refuse to listen beyond loopback without authentication.

    Raises:
        NotGuarded: the host is not a loopback address and no token is configured.
    """
    if settings.bearer_token is None and not is_loopback(settings.host):
        raise NotGuarded(
            f"HTTP on {settings.host} is reachable beyond this machine and needs authentication: "
            "set GANTRY_HTTP__BEARER_TOKEN"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def session_cookie(token: str) -> str:
    """What a browser holds after signing in: proof of the token that does not reveal it."""
    return hmac.new(token.encode(), b"gantry session", hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware that answers what may not pass, before any of it reaches a route."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._token = settings.bearer_token.get_secret_value() if settings.bearer_token else None
        self._hosts = frozenset(_names({*settings.allowed_hosts, settings.host}))
        self._origins = frozenset(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 401, 403 or 421."""
        if scope["type"] == "http":
            refusal = self._refusal(scope, Headers(scope=scope))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not all(map(self._knows_host, {headers.get("host", ""), public_host(headers)})):
            return problem(HTTPStatus.MISDIRECTED_REQUEST, "this archive does not answer for that host")
        if scope["method"] == "OPTIONS":
            return None
        bearer = self._bears_token(headers)
        if not bearer and scope["method"] not in _SAFE_METHODS and self._is_cross_site(headers):
            return problem(HTTPStatus.FORBIDDEN, "a change must come from this archive's own pages")
        if self._token is None or bearer or self._has_session(headers):
            return None
        path: str = scope["path"]
        if path.startswith(_OPEN_PATHS):
            return None
        if "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            root = urlsplit(base_url(Request(scope))).path
            query = scope["query_string"].decode("latin-1")
            target = quote(f"{path}?{query}" if query else path)
            return RedirectResponse(f"{root}{LOGIN_PATH}?next={target}", HTTPStatus.SEE_OTHER)
        return problem(
            HTTPStatus.UNAUTHORIZED, "a bearer token is needed", {"WWW-Authenticate": 'Bearer realm="gantry"'}
        )

    def _knows_host(self, host: str) -> bool:
        name = host_name(host)
        return name != "" and (is_loopback(name) or name in self._hosts)

    def _bears_token(self, headers: Headers) -> bool:
        if self._token is None:
            return False
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            credentials.strip().encode(), self._token.encode()
        )

    def _has_session(self, headers: Headers) -> bool:
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return self._token is not None and hmac.compare_digest(
            cookie.encode(), session_cookie(self._token).encode()
        )

    def _is_cross_site(self, headers: Headers) -> bool:
        """Whether a browser says that another site's page asks (Fetch Metadata, else Origin)."""
        origin = headers.get("origin")
        if origin in self._origins:
            return False
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        if origin is None:
            return False
        return origin.partition("://")[2] not in (headers.get("host"), public_host(headers))


def _names(hosts: Iterable[str]) -> set[str]:
    return {host_name(host) or host.strip("[]").lower() for host in hosts}
