"""Who is let in, how the listener ends, and how its processes are kept."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.common.dimse.acceptor import AcceptedContext, Association, Command, StoreSink
from services.common.dimse.requestor import ProposedContext, associate
from services.common.errors import Unavailable
from services.common.model import Node
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, Running, listening
from tests.fakes.raw_peer import (
    ABORT_BY_USER,
    CT,
    EXPLICIT,
    LIMIT_EXCEEDED,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    echo_rq,
    p_data,
    pdv,
    raw_peer,
    store_rq,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

CALLING_NOT_RECOGNIZED = bytes.fromhex("03000000000400010103")
CALLED_NOT_RECOGNIZED = bytes.fromhex("03000000000400010107")
TEMPORARY_CONGESTION = bytes.fromhex("03000000000400020301")


@dataclass(frozen=True)
class Nodes:
    """Node rules from a table."""

    nodes: Sequence[Node] = ()
    down: bool = False

    def find(self, aet: str) -> Node | None:
        if self.down:
            raise Unavailable("no rules have been read")
        return next((node for node in self.nodes if node.aet == aet), None)

    def all(self) -> Sequence[Node]:
        return self.nodes


US1 = Node(aet="US1", host="192.0.2.1", port=104, idle_timeout_seconds=600)


@pytest.mark.parametrize(
    ("called", "calling", "nodes", "answer"),
    [
        pytest.param(" GANTRY ", " US1", Nodes((US1,)), b"\2", id="known, with blanks"),
        pytest.param("GANTRY", "us1", Nodes((US1,)), CALLING_NOT_RECOGNIZED, id="case counts in the calling"),
        pytest.param("Gantry", "US1", Nodes((US1,)), CALLED_NOT_RECOGNIZED, id="and in the called"),
        pytest.param("GANTRY", "US1", Nodes(down=True), TEMPORARY_CONGESTION, id="no rules"),
    ],
)
def test_who_is_let_in(called: str, calling: str, nodes: Nodes, answer: bytes) -> None:
    settings = DicomSettings(check_called_aet=True, accept_unknown_callers=False)
    raw = bytearray(associate_rq())
    raw[10:26], raw[26:42] = called.encode().ljust(16), calling.encode().ljust(16)
    served = listening(MemoryArchive().handlers, settings=settings, nodes=nodes)
    with served as running, raw_peer(running.port) as peer:
        peer.send(bytes(raw))
        assert peer.read().startswith(answer)


def test_a_node_keeps_its_own_idle_time() -> None:
    settings = DicomSettings(idle_timeout_seconds=0.3)
    served = listening(MemoryArchive().handlers, settings=settings, nodes=Nodes((US1,)))
    with served as running, raw_peer(running.port) as idler, raw_peer(running.port) as ultrasound:
        idler.associate()
        ultrasound.associate(associate_rq(calling="US1"))
        assert idler.read() == ABORT_BY_USER
        time.sleep(0.5)
        ultrasound.send(echo_rq())
        assert ultrasound.command().status == 0


def test_the_address_is_the_proxied_one() -> None:
    archive = MemoryArchive()
    with listening(archive.handlers, settings=DicomSettings(proxy_protocol=True)) as running:
        with raw_peer(running.port) as peer:
            peer.send(b"PROXY TCP4 192.0.2.9 10.0.0.1 4321 104\r\n" + associate_rq())
            assert peer.read()[0] == 2
            peer.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"ab", command=False)))
            assert peer.command().status == 0
        with raw_peer(running.port) as peer:
            peer.send(associate_rq())
            assert peer.is_closed()
    assert archive.associations[0].peer_address == ("192.0.2.9", 4321)


class SlowSink:
    """Waits in `finish` until it is let go."""

    def __init__(self) -> None:
        self.writing = threading.Event()
        self.finish_now = threading.Event()
        self.finished = False

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> StoreSink:
        return self

    def write(self, data: memoryview) -> None:
        self.writing.set()

    def finish(self) -> None:
        assert self.finish_now.wait(PATIENCE_SECONDS)
        self.finished = True

    def abort(self) -> None:
        raise AssertionError("nothing went wrong")


def test_the_release_is_answered_after_the_store() -> None:
    sink = SlowSink()
    served = listening(replace(MemoryArchive().handlers, store=sink))
    with served as running, raw_peer(running.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"ab", command=False)) + RELEASE_RQ)
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)
        sink.finish_now.set()
        peer.sock.settimeout(PATIENCE_SECONDS)
        assert peer.command().status == 0
        assert sink.finished
        assert peer.read() == RELEASE_RP


def test_drain_ends_the_idle_and_lets_a_message_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.dimse.connection.DRAIN_IDLE_SECONDS", 0.3)
    sink = SlowSink()
    with listening(replace(MemoryArchive().handlers, store=sink)) as running:
        with (
            raw_peer(running.port) as idle,
            raw_peer(running.port) as busy,
            raw_peer(running.port) as waiting,
        ):
            idle.associate()
            busy.associate()
            busy.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"a", command=False, last=False)))
            assert sink.writing.wait(PATIENCE_SECONDS)
            running.acceptor.drain()
            assert waiting.is_closed()
            assert idle.read() == ABORT_BY_USER
            wait_until(lambda: not connects(running.port))
            assert running.thread.is_alive()
            busy.send(p_data(pdv(3, b"b", command=False)))
            sink.finish_now.set()
            assert busy.command().status == 0
            assert busy.read() == ABORT_BY_USER
        running.thread.join(PATIENCE_SECONDS)
        assert not running.thread.is_alive()


def test_drain_does_not_wait_for_ever_for_a_peer_that_goes_on() -> None:
    settings = DicomSettings(drain_seconds=1.5)
    with listening(MemoryArchive().handlers, settings=settings) as running, raw_peer(running.port) as peer:
        peer.associate()
        started = time.monotonic()
        running.acceptor.drain()
        answered = 0
        while True:
            peer.send(echo_rq())
            raw = peer.read()
            if raw[:1] != b"\4":
                break
            answered += 1
        assert raw == ABORT_BY_USER
        assert answered > 2
        assert time.monotonic() - started > 1.4


@pytest.fixture
def certificate(tmp_path: Path, tool: Callable[[str], Path]) -> Path:
    """A self-signed certificate for localhost with its key."""
    path = tmp_path / "server.pem"
    subprocess.run(
        [
            *(tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", path, "-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    """For a listener that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def tls(certificate: Path) -> Iterator[tuple[Running, MemoryArchive, ssl.SSLContext]]:
    client = ssl.create_default_context(cafile=str(certificate.parent / "cert.pem"))
    archive = MemoryArchive()
    with listening(archive.handlers, ssl_context=server_context(certificate)) as running:
        yield running, archive, client


def test_tls(tls: tuple[Running, MemoryArchive, ssl.SSLContext]) -> None:
    running, archive, context = tls
    with context.wrap_socket(running.connect(), server_hostname="127.0.0.1") as sock:
        peer = RawPeer(sock)
        peer.associate()
        data = os.urandom(200_000)
        peer.send(p_data(pdv(3, store_rq(), command=True)))
        for start in range(0, len(data), 10_000):
            last = start + 10_000 == len(data)
            peer.send(p_data(pdv(3, data[start : start + 10_000], command=False, last=last)))
        assert peer.command().status == 0
        peer.send(RELEASE_RQ)
        assert peer.read() == RELEASE_RP
    assert bytes(archive.stored[0].data) == data


def test_the_requestor_over_tls(tls: tuple[Running, MemoryArchive, ssl.SSLContext]) -> None:
    running, archive, context = tls
    there = Node(aet="GANTRY", host="127.0.0.1", port=running.port)
    proposal = ProposedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,))
    data = os.urandom(3_000_000)
    with associate(there, [proposal], own_aet="SELF", ssl_context=context) as association:
        outcome = association.store(
            context=next(association.contexts_for(CT)),
            sop_class_uid=CT,
            sop_instance_uid="1.2.3",
            chunks=(data[i : i + 100_000] for i in range(0, len(data), 100_000)),
            length=len(data),
        )
    assert outcome.is_success
    assert bytes(archive.stored[0].data) == data
    with pytest.raises(Unavailable, match="TLS"):
        associate(there, [proposal], own_aet="SELF", ssl_context=ssl.create_default_context())


def test_plain_talk_and_silence_on_a_tls_port_are_dropped(certificate: Path) -> None:
    settings = DicomSettings(artim_timeout_seconds=1.0, network_timeout_seconds=600)
    served = listening(MemoryArchive().handlers, settings=settings, ssl_context=server_context(certificate))
    with served as running, raw_peer(running.port) as plain, raw_peer(running.port) as silent:
        plain.send(associate_rq())
        with pytest.raises((OSError, AssertionError, IndexError)):
            plain.associate()
        assert silent.is_closed()


PROGRAM = r"""
import os, signal, sys
from services.common import logs
from services.common.dimse.acceptor import Acceptor, AssociationSlots
from services.common.dimse.listener import bind, run_processes, serve_until_terminated
from services.common.settings import DicomSettings, LogSettings
from tests.fakes.dimse_archive import MemoryArchive, TakesAll

logs.configure(LogSettings(), "test")
settings = DicomSettings(maximum_associations=4)
listening = bind("127.0.0.1", 0)
slots = AssociationSlots(settings.maximum_associations, 2)

def serve(index):
    os.write(1, f"child {os.getpid()}\n".encode())
    acceptor = Acceptor(
        settings=settings, handlers=MemoryArchive().handlers, policy=TakesAll(), seat=slots.seat(index)
    )
    serve_until_terminated(acceptor, listening)

print("port", listening.getsockname()[1], flush=True)
run_processes(2, serve, died=slots.clear, ending=listening.close)
print("ended", flush=True)
"""


@dataclass
class Fleet:
    """A prefork listener as a program."""

    program: subprocess.Popen[str]
    port: int

    def line(self) -> str:
        assert self.program.stdout is not None
        return self.program.stdout.readline().strip()

    def child(self) -> int:
        word, number = self.line().split()
        assert word == "child"
        return int(number)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    root = Path(__file__).resolve().parents[2]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    with program:
        yield Fleet(program, int(program.stdout.readline().split()[1]))
        program.kill()


def associates(port: int) -> bool:
    """Whether an association is accepted just now; not by a process that dies at this moment."""
    try:
        with raw_peer(port) as peer:
            peer.send(associate_rq())
            return peer.read()[:1] == b"\2"
    except ConnectionError:
        return False


def echoes(port: int) -> bool:
    """Whether an association can be had and answers."""
    with raw_peer(port) as peer:
        peer.associate()
        peer.send(echo_rq())
        return peer.command().status == 0


def test_processes_share_the_port_and_the_limit_and_a_dead_one_comes_back(fleet: Fleet) -> None:
    children = {fleet.child(), fleet.child()}
    held = [fleet_peer(fleet.port) for _ in range(4)]
    with raw_peer(fleet.port) as peer:
        peer.send(associate_rq())
        assert peer.read() == LIMIT_EXCEEDED
    for sock in held:
        sock.close()
    killed = children.pop()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: associates(fleet.port))
    assert fleet.child() not in {killed, *children}
    assert all(echoes(fleet.port) for _ in range(20))


def fleet_peer(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    RawPeer(sock).associate()
    return sock


def test_a_dead_processs_places_are_free_again(fleet: Fleet) -> None:
    children = [fleet.child(), fleet.child()]
    held = [fleet_peer(fleet.port) for _ in range(4)]
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert {fleet.child(), fleet.child()}.isdisjoint(children)
    more = [fleet_peer(fleet.port) for _ in range(4)]
    for sock in (*held, *more):
        sock.close()


TOLD_EARLY = r"""
import os, signal, time
from services.common.dimse.listener import run_processes

def serve(index):
    if index == 0:
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(600)

run_processes(8, serve)
"""


def test_told_to_end_while_it_starts_it_ends() -> None:
    root = Path(__file__).resolve().parents[2]
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", TOLD_EARLY], cwd=root, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == 0


CRASHING = r"""
import os
from services.common import logs
from services.common.dimse.listener import run_processes
from services.common.settings import LogSettings

logs.configure(LogSettings(), "test")

def crash(index):
    os.write(1, b"child\n")
    raise RuntimeError("on purpose")

def beside():
    os.write(1, b"beside\n")
    import signal
    signal.pause()

run_processes(1, crash, beside=[beside])
"""


def test_a_child_that_dies_at_once_is_not_started_without_end() -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        said, starts = [], list[float]()
        while len(starts) < 4:
            said.append(program.stdout.readline())
            if said[-1] == b"child\n":
                starts.append(time.monotonic())
        program.send_signal(signal.SIGTERM)
        said += program.stdout.readlines()
        assert program.wait(PATIENCE_SECONDS) == 0
    assert said.count(b"beside\n") == 1
    assert starts[-1] - starts[0] > 0.2 + 0.4 + 0.8 - 0.3, "with pauses that grow"


def test_sigterm_ends_all_with_0(fleet: Fleet) -> None:
    fleet.child(), fleet.child()
    assert echoes(fleet.port)
    fleet.program.send_signal(signal.SIGTERM)
    assert fleet.line() == "ended"
    assert fleet.program.wait(PATIENCE_SECONDS) == 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", fleet.port), timeout=2)


def test_nobody_is_left_waiting_while_a_pod_drains(fleet: Fleet) -> None:
    fleet.child(), fleet.child()
    with raw_peer(fleet.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, store_rq(), command=True), pdv(3, b"a", command=False, last=False)))
        fleet.program.send_signal(signal.SIGTERM)
        wait_until(lambda: not connects(fleet.port))
        peer.send(p_data(pdv(3, b"b", command=False)))
        assert peer.command().status == 0
        peer.send(RELEASE_RQ)
        assert peer.read() == RELEASE_RP
    assert fleet.line() == "ended"


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def test_children_do_not_outlive_a_killed_parent(fleet: Fleet) -> None:
    children = [fleet.child(), fleet.child()]
    fleet.program.kill()
    wait_until(lambda: not any(is_alive(child) for child in children))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
