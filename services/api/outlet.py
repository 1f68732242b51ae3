"""Long bodies go from the thread that makes them straight to the socket.

asyncio's transport would copy each piece up to four times, and each piece would cost two changes of threads.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Protocol

import h11
from starlette.concurrency import run_in_threadpool

from services.common.ports import Buffer

OUTLET = "gantry.outlet"
"""In the scope of a request whose body may be answered through an `Outlet`."""

_TURN_SECONDS = 0.05
"""After so long a thread is given up to whoever else waits for one, ..."""
_PATIENCE_MS = 10
"""... and sooner where the client takes nothing for so long."""
_MOST_BUFFERS = os.sysconf("SC_IOV_MAX")


class Connection(Protocol):
    """What an outlet needs of the connection that it writes to."""

    conn: h11.Connection
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def pause_writing(self) -> None:
        """The client takes no more for now."""

    def resume_writing(self) -> None:
        """It takes more."""


class _Turn(Enum):
    OVER = auto()
    FULL = auto()
    ENDED = auto()
    GONE = auto()


class Outlet:
    """Writes the body of the one answer that a connection is giving.

    What was made is in the kernel's hands before more is asked for, so that its memory may be used again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, batches: Iterable[Sequence[Buffer]], *, has_length: bool) -> bool:
        """Send a body after its head, but not its end; False where the client has gone.

        `has_length` tells whether the head has a Content-Length.  Raises what `batches` raises.
        """
        conn, transport = self._connection.conn, self._connection.transport
        is_chunked = not has_length and (conn.their_http_version or b"") >= b"1.1"
        if transport.is_closing():
            return await self._gone()
        # A descriptor of its own stays good until it is closed here, whatever becomes of the transport.
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        try:
            while transport.get_write_buffer_size():
                await self._until_writable(descriptor)
            writer = _Writer(descriptor, iter(batches), is_chunked=is_chunked)
            while (turn := await run_in_threadpool(writer.turn)) is not _Turn.ENDED:
                if turn is _Turn.GONE:
                    transport.abort()
                if transport.is_closing():
                    return await self._gone()
                if turn is _Turn.FULL:
                    await self._until_writable(descriptor)
        finally:
            os.close(descriptor)
        if transport.is_closing():
            return await self._gone()
        # h11 has to know how much went past it: it counts what a Content-Length promises.
        conn.send_with_data_passthrough(h11.Data(data=range(writer.count)))  # type: ignore[arg-type]
        return True

    async def _gone(self) -> bool:
        await asyncio.sleep(0)  # so that the connection has been told that it is lost
        return False

    async def _until_writable(self, descriptor: int) -> None:
        loop, writable = self._connection.loop, asyncio.Event()
        self._connection.pause_writing()
        loop.add_writer(descriptor, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(descriptor)
            self._connection.resume_writing()


class _Writer:
    """Batches on their way into a socket that never blocks; `count` bytes have been taken from them."""

    def __init__(self, descriptor: int, batches: Iterator[Sequence[Buffer]], *, is_chunked: bool) -> None:
        self.count = 0
        self._descriptor = descriptor
        self._batches = batches
        self._is_chunked = is_chunked
        self._left: list[Buffer] = []
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def turn(self) -> _Turn:
        """Make and write, in a thread, until there is a reason not to."""
        ends = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < ends:
            if not self._left:
                batch = next(self._batches, None)
                if batch is None:
                    return _Turn.ENDED
                self._left = self._framed(batch)
            try:
                self._write()
            except BlockingIOError:
                if not self._poll.poll(_PATIENCE_MS):
                    return _Turn.FULL
            except OSError:
                return _Turn.GONE
        return _Turn.OVER

    def _framed(self, batch: Sequence[Buffer]) -> list[Buffer]:
        size = sum(map(len, batch))
        self.count += size
        if not self._is_chunked or not size:  # a chunk of nothing would be the last
            return list(batch)
        return [b"%x\r\n" % size, *batch, b"\r\n"]

    def _write(self) -> None:
        written = os.writev(self._descriptor, self._left[:_MOST_BUFFERS])
        for index, buffer in enumerate(self._left):
            if written < len(buffer):
                self._left[: index + 1] = [memoryview(buffer)[written:]]
                return
            written -= len(buffer)
        self._left.clear()
