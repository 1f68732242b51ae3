"""One connection: a socket, the framer that reads it and the writer of its PDVs.

Every wait is bounded.  Nothing waits for the peer with a buffer in its hands, so that those who are
slow hold none.  Sockets without TLS are written with `sendmsg`, and wait in the kernel (SO_SNDTIMEO)
until the peer takes what is written; TLS sockets have neither.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from services.common.dimse import pdu
from services.common.dimse.buffers import Buffers, OwnBuffer
from services.common.dimse.pdu import Event, Framer
from services.common.errors import Unavailable
from services.common.ports import Buffer

_TIMEVAL = struct.Struct("ll")
_BATCH_BUFFERS = 512
_DISCARD_BYTES = 65536

# A peer that is gone without a word is noticed after two minutes, however long it may be idle.
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Ending(StrEnum):
    """How an association came to its end."""

    RELEASED = "released"
    REJECTED = "rejected"
    ABORTED_BY_PEER = "aborted_by_peer"
    VANISHED = "vanished"
    TIMED_OUT = "timed_out"
    IDLE = "idle"
    DRAINED = "drained"
    VIOLATION = "protocol_violation"
    FAILED = "failed"


class AssociationLost(Unavailable):
    """The association is over before its time; `ending` says how."""

    def __init__(self, detail: str, ending: Ending) -> None:
        super().__init__(detail)
        self.ending = ending


class Lane:
    """Events from a peer, and messages to it.  Belongs to one thread.

    `network_timeout` is in seconds: the longest silence in the middle of anything, either way.
    `peer_max_pdu` is set when the association is negotiated.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        network_timeout: float,
        maximum_length: int,
        buffers: Buffers | None = None,
    ) -> None:
        """Without `buffers` it has one of its own."""
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._framer = Framer(maximum_length)
        self._buffers = buffers or OwnBuffer()
        self._buffer: memoryview | None = None
        self._timeout = 0.0
        self._network_timeout = network_timeout
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._aborted = False
        self.peer_max_pdu = 0
        self.lost = False
        for level, option, value in _SOCKET_OPTIONS:
            sock.setsockopt(level, option, value)
        self._set_timeout(network_timeout)

    def fileno(self) -> int:
        """The socket's descriptor, to wait on."""
        return self._sock.fileno()

    def next_event(self, *, idle: Callable[[], None] | None = None, deadline: float | None = None) -> Event:
        """The next event.  `idle` is called before each wait that is not in the middle of a PDU;
        `deadline` (monotonic) bounds the whole.

        Raises:
            AssociationLost: the peer vanished, or was silent for too long.
            ProtocolViolation: what it sent cannot be followed.
        """
        while (event := self._framer.next_event()) is None:
            if idle is not None and self._framer.at_boundary and not self._pending():
                self.rest()
                idle()
            if deadline is None:
                self._receive(self._network_timeout)
            else:
                self._receive(deadline - time.monotonic())
        return event

    def poll_event(self) -> Event | None:
        """The next event if it is already here; never waits."""
        while (event := self._framer.next_event()) is None:
            if not self._read():
                self.rest()
                return None
        return event

    def rest(self) -> None:
        """Give the buffer back where nothing is left in it; what the last event points to is gone then."""
        if self._buffer is not None and self._framer.is_used_up:
            self._framer.feed(memoryview(b""))
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def wait(self, seconds: float) -> bool:
        """Whether something comes within that time."""
        return self._pending() or bool(self._poll.poll(seconds * 1000))

    def send(self, *buffers: Buffer) -> None:
        """Send every buffer whole, in order.

        Raises:
            AssociationLost: the peer vanished, or takes nothing for too long.
        """
        if self.lost:
            raise AssociationLost("the association is over", Ending.FAILED)
        try:
            if self._is_tls:
                self._set_timeout(self._network_timeout)
                self._sock.sendall(b"".join(buffers))
            else:
                self._send_all(buffers)
        except (TimeoutError, BlockingIOError) as exc:
            raise self._lose("the peer takes no data", Ending.TIMED_OUT) from exc
        except OSError as exc:
            raise self._lose(f"the connection broke: {exc.strerror or exc}", Ending.VANISHED) from exc

    def send_message(
        self, context_id: int, command: bytes, data: Iterable[Buffer] | None = None, length: int = 0
    ) -> None:
        """Send a command set and, where there is one, its data set of `length` bytes, in PDUs that the
        peer's maximum length allows.

        Raises:
            AssociationLost: the peer vanished or takes nothing, or `data` does not have `length` bytes.
        """
        batch = list(
            pdu.segments(
                context_id, memoryview(command), is_command=True, ends=True, maximum_length=self.peer_max_pdu
            )
        )
        if data is None:
            self.send(*batch)
            return
        try:
            self._send_data_set(context_id, batch, data, length)
        except AssociationLost:
            raise
        except Exception:
            # A data set that has begun cannot be taken back: only an abort keeps the peer from storing half.
            self.abort()
            raise

    def _send_data_set(
        self, context_id: int, batch: list[bytes | memoryview], data: Iterable[Buffer], length: int
    ) -> None:
        left = length
        for chunk in even(data) if length else (memoryview(b""),):
            left -= len(chunk)
            for part in pdu.segments(
                context_id, chunk, is_command=False, ends=left == 0, maximum_length=self.peer_max_pdu
            ):
                batch.append(part)
                if len(batch) >= _BATCH_BUFFERS:
                    self.send(*batch)
                    batch.clear()
            self.send(*batch)
            batch.clear()
            if left <= 0:
                break
        if left:
            self.abort()
            raise self._lose(f"a data set differs by {-left} from its {length} bytes", Ending.FAILED)

    def abort(self, reason: pdu.AbortReason | None = None) -> None:
        """Send A-ABORT as far as the peer still listens; once is enough, more calls do nothing."""
        if self._aborted:
            return
        self.lost = self._aborted = True
        with contextlib.suppress(OSError):
            self._set_timeout(1.0)
            self._sock.sendall(pdu.abort(reason))

    def discard_until_closed(self, seconds: float) -> None:
        """Wait for the peer to close, so that it reads our last PDU before a reset (PS3.8 9.2: ARTIM)."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            if not self._is_tls:
                self._sock.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0 and self.wait(left):
                if self._is_tls:
                    self._set_timeout(left)
                if not self._sock.recv(_DISCARD_BYTES):
                    return

    def close(self) -> None:
        """Close the connection and give up its buffer; harmless a second time."""
        self._sock.close()
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def _pending(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _receive(self, seconds: float) -> None:
        """Feed the framer with what the peer sends within that time."""
        if self._read():
            return
        deadline = time.monotonic() + seconds
        while True:
            self.rest()
            if not self._poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise self._lose("the peer fell silent", Ending.TIMED_OUT)
            if self._read():
                return

    def _read(self) -> bool:
        """Feed the framer with what is here, if anything is."""
        if self._buffer is None:
            self._buffer = self._buffers.lease()
        try:
            if self._is_tls:
                self._set_timeout(0.0)
                count = self._sock.recv_into(self._buffer)
            else:
                count = self._sock.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            # A sender that keeps Nagle's algorithm on waits for an acknowledgement in every message: it
            # goes out before anything is waited for.  Linux forgets the option as it sees fit.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return False
        except OSError as exc:
            raise self._lose(f"the connection broke: {exc.strerror or exc}", Ending.VANISHED) from exc
        if not count:
            raise self._lose("the peer closed the connection", Ending.VANISHED)
        self._framer.feed(self._buffer[:count])
        return True

    def _send_all(self, buffers: Iterable[Buffer]) -> None:
        views = [memoryview(buffer) for buffer in buffers]
        while views:
            sent = self._sock.sendmsg(views)
            done = 0
            while done < len(views) and sent >= len(views[done]):
                sent -= len(views[done])
                done += 1
            del views[:done]
            if sent:
                views[0] = views[0][sent:]

    def _set_timeout(self, seconds: float) -> None:
        if seconds == self._timeout:
            return
        self._timeout = seconds
        if self._is_tls:
            self._sock.settimeout(seconds)
            return
        whole = int(seconds)
        interval = _TIMEVAL.pack(whole, max(int((seconds - whole) * 1e6), 0 if whole else 1))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)

    def _lose(self, detail: str, ending: Ending) -> AssociationLost:
        self.lost = True
        return AssociationLost(detail, ending)


def even(chunks: Iterable[Buffer]) -> Iterator[memoryview]:
    """The same bytes in chunks that are even and not empty, the last one perhaps odd.

    PDVs of odd length are refused by some receivers, so an odd byte waits for the next chunk.
    """
    odd = b""
    for chunk in chunks:
        view = memoryview(odd + bytes(chunk)) if odd else memoryview(chunk).cast("B")
        cut = len(view) & ~1
        odd = bytes(view[cut:])
        if cut:
            yield view[:cut]
    if odd:
        yield memoryview(odd)
