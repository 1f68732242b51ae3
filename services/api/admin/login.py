"""Signing in with the archive's token, and out; see `services.api.guard` for what a session opens."""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from services.api.addresses import base_url
from services.api.admin.page import PageRoute, here, page
from services.api.dependencies import Here
from services.api.guard import COOKIE, LOGIN_PATH, session_cookie

PAUSE_SECONDS = 1.0
"""How long a wrong token waits for its answer."""
WAITING = 5
"""How many may wait; others are turned away untried, so that guesses come no faster than these wait."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Doorman:
    """Compares tokens, so many at once, and takes its time over wrong ones."""

    def __init__(self, *, pause_seconds: float = PAUSE_SECONDS, waiting: int = WAITING) -> None:
        self._pause_seconds = pause_seconds
        self._free = waiting

    async def admits(self, said: str, token: str) -> bool | None:
        """Whether it is the token; None where too many are being tried already."""
        if self._free == 0:
            return None
        self._free -= 1
        try:
            is_right = hmac.compare_digest(said.strip().encode(), token.encode())
            if not is_right:
                await asyncio.sleep(self._pause_seconds)
            return is_right
        finally:
            self._free += 1


_doorman = Doorman()


def local_path(target: str) -> str:
    """Where to go after signing in: a path of this archive, else its first page."""
    parts = urlsplit(target)
    is_local = (
        target.startswith("/")
        and not target.startswith("//")
        and not (parts.scheme or parts.netloc)
        and "\\" not in target
        and target.isprintable()
    )
    return target if is_local else "/"


@router.get(LOGIN_PATH)
def form(request: Request, archive: Here, next: str = "/") -> Response:
    """The form; there is none where no token is configured."""
    target = local_path(next)
    if archive.settings.http.bearer_token is None:
        return RedirectResponse(here(request).root + target, HTTPStatus.SEE_OTHER)
    return page(request, "login.html", {"next": target, "fault": ""})


@router.post(LOGIN_PATH)
async def sign_in(
    request: Request,
    archive: Here,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Give the browser its session, or the form once more."""
    target = local_path(next)
    secret = archive.settings.http.bearer_token
    if secret is None:
        return RedirectResponse(here(request).root + target, HTTPStatus.SEE_OTHER)
    is_right = await _doorman.admits(token, secret.get_secret_value())
    if is_right is None:
        values: dict[str, object] = {"next": target, "fault": "Too many attempts at once. Try again soon."}
        return page(request, "login.html", values, status=HTTPStatus.TOO_MANY_REQUESTS)
    if not is_right:
        values = {"next": target, "fault": "That is not the token of this archive."}
        return page(request, "login.html", values, status=HTTPStatus.FORBIDDEN)
    response = RedirectResponse(here(request).root + target, HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE,
        session_cookie(secret.get_secret_value()),
        path="/",
        httponly=True,
        samesite="strict",
        secure=base_url(request).startswith("https:"),
    )
    return response


@router.post("/logout")
def sign_out(request: Request) -> Response:
    """Take the session back."""
    response = RedirectResponse(here(request).root + LOGIN_PATH, HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response
