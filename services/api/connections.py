"""HTTP connections with limits: a request has to come in time, and many idle connections shut nobody out.

uvicorn itself waits for ever for a request's head and body, and answers what is no HTTP in plain text.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from http import HTTPStatus

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.api.outlet import OUTLET, Outlet
from services.api.problems import problem
from services.common.counts import Counter

_ENDED = Counter(
    "gantry_http_connections_ended_total",
    "HTTP connections closed because the client was too slow or too many were open, by reason",
    ("reason",),
)
for _reason in ("pushed_out", "no_room", "no_head", "no_body", "answer_not_taken"):
    _ENDED.labels(_reason)  # a series that is not there cannot be told from one that is not scraped
_MAY_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """`head_seconds` for a request's head to be whole; `silent_seconds` without a byte of its body, or
    without any of the answer being taken; `open_connections` at a time."""

    head_seconds: float
    silent_seconds: float
    open_connections: int


def limited(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The protocol class to run uvicorn with."""
    return type("LimitedHttp", (LimitedHttp,), {"limits": limits})


class LimitedHttp(H11Protocol):
    """An HTTP/1.1 connection that does not wait for ever."""

    limits: ConnectionLimits

    _idle_since = 0.0
    """When it opened, or when its last answer was complete: from then on a head is waited for."""
    _heard_at = 0.0
    _full_since: float | None = None
    """Since when the client has taken too little of the answer for more to be written."""
    _was_closing = False
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; where all places are taken, from the one that has waited longest for a head.

        Where every other one is at work, it is answered with 503.
        """
        super().connection_made(transport)
        self._served, self.app = self.app, self._serve
        self._idle_since = self._heard_at = self.loop.time()
        self._look_again_in(self.limits.head_seconds)
        others = [one for one in self.connections if isinstance(one, LimitedHttp) and one is not self]
        others = [one for one in others if not one.transport.is_closing()]
        if len(others) < self.limits.open_connections:
            return
        idle = [one for one in others if one.waits_for_head]
        if idle:
            longest = min(idle, key=lambda one: one._idle_since)
            longest.end("pushed_out", HTTPStatus.REQUEST_TIMEOUT, "others need the connection")
        else:
            self.end("no_room", HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._watch is not None:
            self._watch.cancel()
        self.app = self._served
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; they may come after the connection was ended."""
        if self.transport.is_closing():
            return
        self._heard_at = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes the answer more slowly than it is made."""
        self._full_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken some."""
        self._full_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; `h11` says which code is due."""
        fault = sys.exception()
        status = fault.error_status_hint if isinstance(fault, h11.RemoteProtocolError) else 400
        self._answer(status, f"this is no HTTP request that can be understood: {fault or msg}")

    @property
    def waits_for_head(self) -> bool:
        """Whether it does nothing but wait for a request, or for the rest of its head."""
        return self.cycle is None or self.cycle.response_complete

    def end(self, reason: str, status: HTTPStatus, detail: str) -> None:
        """Answer, where an answer may still begin, and close."""
        _ENDED.labels(reason).inc()
        self._answer(status, detail)

    def _answer(self, status: int, detail: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that the route does not answer as well
            self.cycle.message_event.set()
        if self.conn.our_state in _MAY_ANSWER:
            document = problem(status, detail, {"Connection": "close"})
            reason = HTTPStatus(status).phrase.encode()
            head = h11.Response(status_code=status, headers=document.raw_headers, reason=reason)
            for event in (head, h11.Data(data=bytes(document.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[OUTLET] = Outlet(self)
        await self._served(scope, receive, send)

    def _look_again_in(self, seconds: float) -> None:
        self._watch = self.loop.call_later(max(seconds, 0.0), self._look)

    def _look(self) -> None:
        """End the connection if the client is too slow, else look again when it could be."""
        now, limits = self.loop.time(), self.limits
        if self._takes_nothing(now):
            _ENDED.labels("answer_not_taken").inc()
            self.transport.abort()
        elif self.transport.is_closing():
            self._was_closing = True
            self._look_again_in(limits.silent_seconds)
        elif self.waits_for_head:
            left = self._idle_since + limits.head_seconds - now
            if left > 0:
                self._look_again_in(left)
            else:
                self.end(
                    "no_head", HTTPStatus.REQUEST_TIMEOUT, "the head of the request did not come in time"
                )
        elif self._waits_for_body:
            left = self._heard_at + limits.silent_seconds - now
            if left > 0:
                self._look_again_in(min(left, limits.head_seconds))
            else:
                self.end(
                    "no_body", HTTPStatus.REQUEST_TIMEOUT, "the body of the request did not come in time"
                )
        else:
            self._heard_at = now
            self._look_again_in(min(limits.head_seconds, limits.silent_seconds))

    @property
    def _waits_for_body(self) -> bool:
        """Whether the client is to send more, and nothing of ours keeps it from that."""
        return (
            self.conn.their_state is h11.SEND_BODY
            and not self.flow.read_paused
            and not self.cycle.waiting_for_100_continue
        )

    def _takes_nothing(self, now: float) -> bool:
        if self._full_since is not None:
            return now - self._full_since >= self.limits.silent_seconds
        return self._was_closing
