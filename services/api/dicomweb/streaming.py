"""Bodies that are made while they are sent: whole studies, frames, long arrays of JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.api.heads import IS_HEAD
from services.api.outlet import OUTLET, Outlet
from services.common import logs
from services.common.errors import GantryError
from services.common.ports import Buffer

_BATCH_BYTES = 128 * 1024
"""Small pieces go out together, ..."""
_SMALL_BYTES = 16 * 1024
"""... for which those in memory that may be used again are copied."""

_FASTEST = 1
_GZIP = 16 + zlib.MAX_WBITS

_log = logs.get(__name__)


class Streamed(Response):
    """A body in pieces, which are made in a thread and never faster than the client takes them.

    A piece that is no `bytes` is good until the next is asked for.  The first pieces are made before
    anything is sent, so that what is missing or broken is answered with a status of its own.  An error
    after that ends the connection before the body's end, for a client must not take the part for the
    whole.  `close` is called in any case, also where the client has gone.
    """

    def __init__(
        self,
        pieces: Iterator[Buffer],
        *,
        close: Callable[[], object] = lambda: None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        self._pieces = pieces
        self._close = close
        self.status_code = status_code
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body, or raise the error that came before its first byte."""
        try:
            first = await run_in_threadpool(self._next)
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            if scope.get(IS_HEAD):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                await self._send(first, scope.get(OUTLET), send)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._end)

    async def _send(self, first: Sequence[Buffer], outlet: Outlet | None, send: Send) -> None:
        batches = chain([first], iter(self._next, ()))
        try:
            if outlet is not None:
                if not await outlet.send(batches, has_length="content-length" in self.headers):
                    return
            else:
                while batch := await run_in_threadpool(next, batches, None):
                    await send({"type": "http.response.body", "body": b"".join(batch), "more_body": True})
        except GantryError as error:
            # To return before the body's end makes the server close the connection.
            _log.error("answer_broken_off", kind=type(error).__name__, detail=str(error))
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _next(self) -> Sequence[Buffer]:
        """The next pieces, of which the last alone may be in memory that is used again; none at the end."""
        batch: list[Buffer] = []
        size = 0
        for piece in self._pieces:
            size += len(piece)
            if isinstance(piece, bytes) or len(piece) > _SMALL_BYTES:
                batch.append(piece)
            else:
                batch.append(bytes(piece))
            if size >= _BATCH_BYTES or not isinstance(batch[-1], bytes):
                break
        return tuple(batch)

    def _end(self) -> None:
        try:
            if isinstance(self._pieces, Generator):
                self._pieces.close()
        finally:
            self._close()


async def _until_gone(receive: Receive, sending: anyio.CancelScope) -> None:
    """Wait for the client to go, and stop sending then."""
    while (await receive())["type"] != "http.disconnect":
        pass
    sending.cancel()


def json_array(
    request: Request, models: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
) -> Streamed:
    """An answer of DICOM JSON models, each of them encoded already; gzipped where the client takes that."""
    pieces = _array(models)
    said = {"Vary": "Accept-Encoding", **(headers or {})}
    if "gzip" in request.headers.get("accept-encoding", ""):
        pieces = _gzipped(pieces)
        said["Content-Encoding"] = "gzip"
    return Streamed(pieces, headers=said, media_type=media_type)


def encoded(model: Any) -> bytes:
    """A JSON value without needless spaces, in UTF-8; a lone surrogate, which UTF-8 lacks, becomes ``?``."""
    return json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _array(models: Iterator[bytes]) -> Generator[bytes, None, None]:
    before = b"["
    for model in models:
        yield before + model
        before = b","
    yield b"]" if before == b"," else b"[]"


def _gzipped(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    compressor = zlib.compressobj(_FASTEST, wbits=_GZIP)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()
