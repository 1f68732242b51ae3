"""How long an HTTP connection is waited for, and what is answered then; time is the test's own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from services.api.connections import ConnectionLimits, limited

HEAD, SILENT, OPEN = 1000.0, 3000.0, 3
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PART_OF_A_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time the test moves on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@dataclass(slots=True)
class App:
    """Reads the body when it may, then answers with `size` bytes when it may; `told` is what it got."""

    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    size: int = 2
    told: list[Any] = field(default_factory=list)
    ended: bool = False

    @property
    def read(self) -> int:
        """How many bytes of bodies it has got."""
        return sum(len(one.get("body", b"")) for one in self.told)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.may_read.wait()
        while True:
            message = await receive()
            self.told.append(message)
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for start in range(0, self.size, 65536):
            body = bytes(min(65536, self.size - start))
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.ended = True


@dataclass(slots=True)
class Server:
    """Takes connections as uvicorn does."""

    clock: Clock
    app: App
    state: ServerState = field(default_factory=ServerState)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        limits = ConnectionLimits(head_seconds=HEAD, silent_seconds=SILENT, open_connections=OPEN)
        config = Config(
            self.app, http=limited(limits), ws="none", log_config=None, timeout_keep_alive=100_000
        )
        config.load()
        ours, theirs = socket.socketpair()
        protocol: Any = config.http_protocol_class
        await self.clock.connect_accepted_socket(
            lambda: protocol(config=config, server_state=self.state, app_state={}), ours
        )
        return await asyncio.open_connection(sock=theirs)

    async def pass_time(self, seconds: float) -> None:
        await self.idle()
        self.clock.ahead += seconds
        await self.idle()

    async def idle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.001)


Story = Callable[[Server], Coroutine[Any, Any, None]]


@pytest.fixture
def tell() -> Callable[[Story, App | None], None]:
    """Run a story on a server with a clock of its own."""

    def run(story: Story, app: App | None = None) -> None:
        clock = Clock()

        async def told() -> None:
            server = Server(clock, app or App())
            if app is None:
                server.app.may_read.set()
                server.app.may_answer.set()
            await story(server)
            for connection in list(server.state.connections):
                connection.transport.abort()  # type: ignore[union-attr]
            await server.until(lambda: not server.state.connections)
            for task in list(server.state.tasks):
                task.cancel()
            await server.idle()

        try:
            clock.run_until_complete(told())
        finally:
            clock.close()

    return run


async def problem_of(reader: asyncio.StreamReader, status: int) -> None:
    """The answer is a problem document of that status, and the last of the connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} "), head
    assert "content-type: application/problem+json" in lines and "connection: close" in lines
    assert json.loads(body)["status"] == status


async def answered(reader: asyncio.StreamReader) -> None:
    """One whole answer of 200, as `App` gives it."""
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    await reader.readuntil(b"0\r\n\r\n")


async def closing(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def test_a_head_that_trickles_gets_408_and_no_longer_time(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(PART_OF_A_HEAD)
        for _ in range(9):
            await server.pass_time(HEAD / 10)
            writer.write(b"x")
        await server.idle()
        assert not reader.at_eof()
        await server.pass_time(HEAD / 10 + 1)
        await problem_of(reader, 408)
        await closing(writer)

    tell(story)


def test_one_that_never_speaks_is_ended(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        await server.pass_time(HEAD + 1)
        await problem_of(reader, 408)
        await closing(writer)

    tell(story)


def test_each_request_of_a_connection_has_its_own_time(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        for _ in range(3):
            await server.pass_time(HEAD * 0.9)
            writer.write(GET)
            await answered(reader)
        writer.write(PART_OF_A_HEAD)
        await server.pass_time(HEAD + 1)
        await problem_of(reader, 408)
        await closing(writer)

    tell(story)


def upload(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


def test_a_body_that_stops_gets_408_and_the_route_is_told(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(upload(10) + b"12345")
        await server.until(lambda: bool(server.app.told))
        await server.pass_time(SILENT + 1)
        await problem_of(reader, 408)
        assert server.app.told[-1]["type"] == "http.disconnect"
        await closing(writer)

    tell(story)


def test_a_body_that_goes_on_may_take_its_time(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(upload(10))
        for number in range(10):
            await server.pass_time(SILENT * 0.9)
            writer.write(b"x")
            await server.until(lambda sent=number + 1: server.app.read >= sent)
        await answered(reader)
        await closing(writer)

    tell(story)


def test_a_body_that_the_route_does_not_read_yet_is_nobodys_fault(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(upload(2**20) + bytes(2**20))
        for _ in range(20):
            await server.pass_time(SILENT * 0.7)
        server.app.may_read.set()
        server.app.may_answer.set()
        await answered(reader)
        await closing(writer)

    tell(story, App())


def test_the_route_may_take_its_time(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(GET)
        for _ in range(5):
            await server.pass_time(SILENT + HEAD)
        server.app.may_read.set()
        server.app.may_answer.set()
        await answered(reader)
        await closing(writer)

    tell(story, App())


def test_an_answer_that_nobody_takes_is_given_up(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        server.app.may_read.set()
        server.app.may_answer.set()
        _, writer = await server.open()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await server.until(lambda: bool(server.app.told))
        await server.pass_time(SILENT / 2)
        assert not server.app.ended and server.state.connections
        for _ in range(4):
            await server.pass_time(SILENT)
        await server.until(lambda: server.app.ended and not server.state.connections)
        await closing(writer)

    tell(story, App(size=2**26))


def test_the_one_that_waited_longest_makes_room(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        slow = []
        for _ in range(OPEN):
            slow.append(await server.open())
            slow[-1][1].write(PART_OF_A_HEAD)
            await server.pass_time(1)
        reader, writer = await server.open()
        writer.write(GET)
        await answered(reader)
        await problem_of(slow[0][0], 408)
        slow[1][1].write(b"\r\n\r\n")
        await answered(slow[1][0])
        for _, open_writer in [*slow, (reader, writer)]:
            await closing(open_writer)

    tell(story)


def test_where_all_are_at_work_one_more_gets_503(tell: Callable[..., None]) -> None:
    async def story(server: Server) -> None:
        busy = [await server.open() for _ in range(OPEN)]
        for _, writer in busy:
            writer.write(GET)
        await server.until(lambda: len(server.state.tasks) == OPEN)
        reader, writer = await server.open()
        await problem_of(reader, 503)
        server.app.may_read.set()
        server.app.may_answer.set()
        for open_reader, open_writer in busy:
            await answered(open_reader)
            await closing(open_writer)
        await closing(writer)

    tell(story, App())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_is_no_http_gets_a_problem_document(tell: Callable[..., None], said: bytes, status: int) -> None:
    async def story(server: Server) -> None:
        reader, writer = await server.open()
        writer.write(said)
        await problem_of(reader, status)
        await closing(writer)

    tell(story)
