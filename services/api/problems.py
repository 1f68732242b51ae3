"""Errors as HTTP answers: problem documents (RFC 9457), with the code that the kind of error decides."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common import logs
from services.common.errors import (
    BlobMissing,
    GantryError,
    InvalidInstance,
    InvalidQuery,
    NotAcceptable,
    NotFound,
    Unavailable,
    UnknownNode,
)

RETRY_AFTER_SECONDS = 5

_STATUS: dict[type[GantryError], HTTPStatus] = {
    InvalidInstance: HTTPStatus.BAD_REQUEST,
    InvalidQuery: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    UnknownNode: HTTPStatus.NOT_FOUND,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    BlobMissing: HTTPStatus.INTERNAL_SERVER_ERROR,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

_log = logs.get(__name__)


def status_of(error: GantryError) -> HTTPStatus:
    """The HTTP code of an error, by its kind."""
    return next(
        (status for kind, status in _STATUS.items() if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem document."""
    return JSONResponse(
        {"title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


class PlainErrors:
    """ASGI middleware that makes problem documents of the errors that libraries answer in plain text.

    Those are ranges that a file has not, and preflights of origins that are not allowed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer unless it is such an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        detail = b""

        async def sent(message: Message) -> None:
            nonlocal held, detail
            if message["type"] == "http.response.start" and _is_plain_error(message):
                held = message
            elif held is None:
                await send(message)
            else:
                detail += message.get("body", b"")
                if not message.get("more_body", False):
                    await _as_problem(held, detail)(scope, receive, send)

        await self._app(scope, receive, sent)


def _is_plain_error(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= HTTPStatus.BAD_REQUEST and kind.startswith("text/plain")


def _as_problem(start: Message, detail: bytes) -> JSONResponse:
    status = HTTPStatus(start["status"])
    kept = {
        name: value
        for name, value in Headers(raw=start["headers"]).items()
        if name not in ("content-type", "content-length")
    }
    return problem(status, detail.decode("utf-8", "replace") or status.description, kept)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    @app.exception_handler(GantryError)
    async def gantry_error(request: Request, error: GantryError) -> JSONResponse:
        status = status_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request_failed", path=request.url.path, kind=type(error).__name__, detail=str(error))
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if isinstance(error, Unavailable) else None
        return problem(status, str(error), retry)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(HTTPStatus.BAD_REQUEST, f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def client_gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        # Nobody reads it; without it what is no fault of ours were logged as one.
        return problem(HTTPStatus.BAD_REQUEST, "the request ended early")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something that was not foreseen went wrong")
