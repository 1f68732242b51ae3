"""Long bodies written past the event loop: the right bytes, whatever the client's pace and end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import Any

import h11
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from services.api.connections import ConnectionLimits, limited
from services.api.dicomweb.streaming import Streamed
from services.common.errors import BlobMissing
from services.common.ports import Buffer

BLOCK = 300_000
BLOCKS = 40
SILENT = 3000.0


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time the test moves on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class Body:
    """Blocks that all lie in the same memory, which is written anew when the next is asked for."""

    def __init__(self, count: int = BLOCKS, error_after: int | None = None) -> None:
        self.made = 0
        self.is_closed = False
        self._count = count
        self._error_after = error_after

    def __call__(self) -> Generator[Buffer, None, None]:
        memory = bytearray(BLOCK)
        try:
            for number in range(self._count):
                if number == self._error_after:
                    raise BlobMissing("gone")
                self.made += 1
                yield b"<%d>" % number
                yield b""
                memory[:] = bytes([number + 1]) * BLOCK
                yield memoryview(memory)[:100]
                memory[:] = bytes([number + 51]) * BLOCK
                yield memoryview(memory)[:40_000]
                memory[:] = bytes([number + 101]) * BLOCK
                yield memoryview(memory)
                memory[:] = bytes(BLOCK)
        finally:
            self.is_closed = True


WHOLE = b"".join(
    b"<%d>" % number
    + bytes([number + 1]) * 100
    + bytes([number + 51]) * 40_000
    + bytes([number + 101]) * BLOCK
    for number in range(BLOCKS)
)


def serve(
    body: Body,
    talk: Callable[[Clock, socket.socket, ServerState], Coroutine[Any, Any, None]],
    headers: Mapping[str, str] | None = None,
) -> None:
    """Let a client talk to a connection whose every answer is `body`."""
    clock = Clock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Streamed(body(), headers=headers)(scope, receive, send)

    async def told() -> None:
        limits = ConnectionLimits(head_seconds=1000, silent_seconds=SILENT, open_connections=3)
        config = Config(app, http=limited(limits), ws="none", log_config=None, lifespan="off")
        config.load()
        state = ServerState()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        protocol: Any = config.http_protocol_class
        await clock.connect_accepted_socket(
            lambda: protocol(config=config, server_state=state, app_state={}), ours
        )
        before = len(list(Path("/proc/self/fd").iterdir()))
        with theirs:
            await talk(clock, theirs, state)
        while state.connections or state.tasks:
            await asyncio.sleep(0.001)
        assert body.is_closed
        assert len(list(Path("/proc/self/fd").iterdir())) < before

    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        runner.run(told())


async def take(clock: Clock, peer: socket.socket, client: h11.Connection, pace: int) -> tuple[bytes, bool]:
    """The body of the next answer, read by `pace` bytes, and whether it came to its end."""
    got = bytearray()
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await clock.sock_recv(peer, pace))
            await asyncio.sleep(0)
        elif isinstance(event, h11.Data):
            got += event.data
        elif isinstance(event, h11.EndOfMessage):
            return bytes(got), True


@pytest.mark.parametrize("pace", [5_000, 2**20])
@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(len(WHOLE))}])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_blocks_used_again_reach_fast_and_slow_clients_as_they_were(
    version: str, headers: dict[str, str], pace: int
) -> None:
    async def talk(clock: Clock, peer: socket.socket, state: ServerState) -> None:
        for _ in range(2 if version == "1.1" else 1):  # the connection is as good as before
            await clock.sock_sendall(peer, f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            got, is_whole = await take(clock, peer, client, pace)
            assert is_whole
            assert got == WHOLE

    serve(Body(), talk, headers)


def test_blocks_used_again_are_right_on_any_server() -> None:
    got = []

    async def send(message: Any) -> None:
        got.append(message.get("body", b""))
        await asyncio.sleep(0)

    async def receive() -> Any:
        await asyncio.Event().wait()

    asyncio.run(Streamed(Body()())({"type": "http", "method": "GET"}, receive, send))
    assert b"".join(got) == WHOLE


def test_no_more_is_made_than_the_client_takes() -> None:
    body = Body(100_000)

    async def talk(clock: Clock, peer: socket.socket, state: ServerState) -> None:
        await clock.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        (connection,) = state.connections
        while connection._full_since is None:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        assert body.made < 100

    serve(body, talk)


def test_a_client_that_takes_nothing_is_let_go() -> None:
    async def talk(clock: Clock, peer: socket.socket, state: ServerState) -> None:
        await clock.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while state.connections:
            clock.ahead += SILENT / 10
            await asyncio.sleep(0.001)

    serve(Body(100_000), talk)


def test_a_client_that_goes_away_ends_the_making() -> None:
    body = Body(100_000)

    async def talk(clock: Clock, peer: socket.socket, state: ServerState) -> None:
        await clock.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await clock.sock_recv(peer, 2**20)

    serve(body, talk)
    assert body.made < 1000


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(len(WHOLE))}])
def test_an_error_in_mid_stream_leaves_the_body_without_its_end(headers: dict[str, str]) -> None:
    async def talk(clock: Clock, peer: socket.socket, state: ServerState) -> None:
        await clock.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        with pytest.raises(h11.RemoteProtocolError):
            await take(clock, peer, client, 2**20)

    serve(Body(error_after=7), talk, headers)
