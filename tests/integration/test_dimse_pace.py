"""What keeps a sender waiting, and what must not: acknowledgements, other senders, the budget of buffers."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydicom.data import get_testdata_file

from services.common.dimse.acceptor import AcceptedContext, Association, Command, StoreSink
from services.common.dimse.buffers import BUFFER_BYTES
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.raw_peer import associate_rq, echo_rq, p_data, pdv, raw_peer, store_rq
from tests.waiting import PATIENCE_SECONDS, is_ever_quicker, wait_until

FindTool = Callable[[str], Path]
CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))


def unacknowledged(sock: socket.socket) -> int:
    """Segments that were sent and that the other side has not acknowledged (tcpi_unacked)."""
    information = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", information, 24)[0])


def test_what_has_come_is_acknowledged_before_anything_is_waited_for() -> None:
    """Linux delays an acknowledgement by 40 ms and more where nobody asks for it; that is never seen here.

    The first ones on a connection are prompt in any case, and do not count.
    """
    numbers = iter(range(1, 1000))
    with listening(MemoryArchive().handlers) as running, raw_peer(running.port) as peer:
        peer.associate()

        def send_half() -> None:
            peer.send(p_data(pdv(3, store_rq(next(numbers)), command=True)))
            wait_until(lambda: unacknowledged(peer.sock) == 0)

        def send_rest() -> None:
            peer.send(p_data(pdv(3, b"abcd", command=False)))
            assert peer.command().status == 0

        for _ in range(50):
            send_half()
            send_rest()
        quick = False
        for _ in range(20):
            quick = is_ever_quicker(0.03, send_half, tries=1) or quick
            send_rest()
    assert quick


def delayed_acknowledgements() -> int:
    """How many this machine has sent so far."""
    names, values = [
        line.split()
        for line in Path("/proc/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    ]
    return int(values[names.index("DelayedACKs")])


def test_storescu_with_nagles_algorithm_on_does_not_wait_for_delayed_acknowledgements(
    tool: FindTool,
) -> None:
    """One an image and more is what a receiver has that takes no care.  Others on this machine add some of
    theirs, but not each time so many."""
    archive = MemoryArchive()
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}

    def delayed_while_sending(port: int) -> int:
        before = delayed_acknowledgements()
        send = [tool("storescu"), "127.0.0.1", str(port), *[CT_FILE] * 200]
        subprocess.run(send, env=environment, check=True, timeout=110)
        return delayed_acknowledgements() - before

    with listening(archive.handlers) as running:
        assert any(delayed_while_sending(running.port) < 100 for _ in range(5))
    assert len(archive.stored) % 200 == 0


class Held:
    """Sinks that hold what they are given until they are let go."""

    def __init__(self) -> None:
        self.holding = threading.Semaphore(0)
        self.let_go = threading.Event()

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> StoreSink:
        return self

    def write(self, data: memoryview) -> None:
        self.holding.release()
        assert self.let_go.wait(PATIENCE_SECONDS)

    def finish(self) -> None:
        pass

    def abort(self) -> None:
        pass


def value_of(metric: str) -> float:
    return REGISTRY.get_sample_value(metric) or 0.0


TWO_BUFFERS = DicomSettings(buffer_bytes=2 * BUFFER_BYTES)


def test_who_finds_the_budget_used_up_waits_and_is_served() -> None:
    held = Held()
    waits, bytes_held = value_of("gantry_dimse_buffer_waits_total"), value_of("gantry_dimse_buffer_bytes")
    served = listening(replace(MemoryArchive().handlers, store=held), settings=TWO_BUFFERS)
    with (
        served as running,
        raw_peer(running.port) as first,
        raw_peer(running.port) as second,
        raw_peer(running.port) as third,
    ):
        for peer in (first, second, third):
            peer.associate()
        for peer in (first, second):
            peer.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"ab", command=False)))
            assert held.holding.acquire(timeout=PATIENCE_SECONDS)
        third.send(echo_rq())
        wait_until(lambda: value_of("gantry_dimse_buffer_waits_total") > waits)
        assert value_of("gantry_dimse_buffer_bytes") - bytes_held == 2 * BUFFER_BYTES
        held.let_go.set()
        assert [peer.command().status for peer in (first, second, third)] == [0, 0, 0]


def test_the_slow_and_the_idle_hold_no_buffer() -> None:
    archive = MemoryArchive()
    with listening(archive.handlers, settings=TWO_BUFFERS) as running:
        crawling = [socket.create_connection(("127.0.0.1", running.port), timeout=110) for _ in range(12)]
        try:
            for number, sock in enumerate(crawling):
                stream = (
                    associate_rq()
                    + p_data(pdv(3, store_rq(), command=True), pdv(3, bytes(50), command=False, last=False))
                    + p_data(pdv(3, bytes(50), command=False))[: number + 1]
                )
                sock.sendall(stream)
            wait_until(lambda: running.slots.taken == 12)
            with raw_peer(running.port) as peer:
                peer.associate()
                for number in range(1, 20):
                    command = p_data(pdv(3, store_rq(number), command=True))
                    most = p_data(pdv(3, bytes(120_000), command=False, last=False)) * 2
                    whole = command + most + p_data(pdv(3, bytes(60_000), command=False))
                    half = len(whole) // 2
                    peer.send(whole[:half])
                    peer.send(whole[half:])
                    assert peer.command().status == 0
        finally:
            for sock in crawling:
                sock.close()
    assert len(archive.stored) == 19


@pytest.mark.parametrize("maximum", [0, 4096, 131072])
def test_memory_is_flat_whatever_the_objects_size(maximum: int) -> None:
    """300 MB in one object, on a budget of two buffers; the sink keeps none of it."""
    received = 0

    class Counting(Held):
        def write(self, data: memoryview) -> None:
            nonlocal received
            received += len(data)
            assert len(data) <= BUFFER_BYTES

    settings = DicomSettings(buffer_bytes=2 * BUFFER_BYTES, maximum_pdu_length=maximum)
    handlers = replace(MemoryArchive().handlers, store=Counting())
    size = 64 * 2**20 if maximum == 4096 else 300 * 2**20
    with listening(handlers, settings=settings) as running, raw_peer(running.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, store_rq(), command=True)))
        before = resident_bytes()
        if maximum:
            piece = maximum - 6
            one = p_data(pdv(3, bytes(piece), command=False, last=False)) * 16
            for _ in range(size // (16 * piece)):
                peer.send(one)
        else:  # a single PDU
            peer.send(struct.pack(">BxIIBB", 4, size + 6, size + 2, 3, 0))
            for _ in range(size // 2**20):
                peer.send(bytes(2**20))
        peer.send(p_data(pdv(3, b"", command=False)))
        assert peer.command().status == 0
        grown = resident_bytes() - before
    assert received > 0.99 * size
    assert grown < 16 * 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
