"""HEAD wherever there is a GET (RFC 9110 9.3.2): the same answer without its body."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

IS_HEAD = "gantry.is_head"
"""In the scope of a request for the head alone: a long body need not be made."""


class HeadAsGet:
    """ASGI middleware that routes HEAD as GET; the server, which knows better, sends no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", IS_HEAD: True}
        await self._app(scope, receive, send)
