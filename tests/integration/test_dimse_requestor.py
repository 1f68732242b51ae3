"""The requestor against Gantry's own acceptor, DCMTK's, pynetdicom's, and nodes that misbehave."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt

from services.common.dimse import acse, messages
from services.common.dimse.acceptor import Acceptance
from services.common.dimse.lane import AssociationLost
from services.common.dimse.messages import Command
from services.common.dimse.negotiation import AssociationInfo, RequestedContext
from services.common.dimse.requestor import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    AssociationRejected,
    OutboundAssociation,
    ProposedContext,
    Timeouts,
    associate,
)
from services.common.errors import BlobMissing, InvalidInstance, NotAcceptable, Unavailable
from services.common.model import Node
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, TakesAll, listening
from tests.fakes.raw_peer import (
    ABORT_BY_USER,
    CT,
    EXPLICIT,
    LIMIT_EXCEEDED,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    p_data,
    pdv,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
CONTEXTS = (
    ProposedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,)),
    ProposedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,)),
)
PATIENT = Timeouts(connect=600, artim=600, network=600)
"""None of these is up before a test's own time is."""


def node(port: int) -> Node:
    return Node(aet="THERE", host="127.0.0.1", port=port)


def data_set() -> bytes:
    """The CT's bytes after its file meta information."""
    raw = CT_FILE.read_bytes()
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def send(association: OutboundAssociation, data: bytes, chunk: int = 65536) -> tuple[int, str]:
    """Store `data` as a CT; gives status and comment."""
    context = next(association.contexts_for(CT))
    outcome = association.store(
        context=context,
        sop_class_uid=CT,
        sop_instance_uid=str(pydicom.dcmread(CT_FILE).SOPInstanceUID),
        chunks=(memoryview(data)[i : i + chunk] for i in range(0, len(data), chunk)),
        length=len(data),
        move_originator_aet="VIEWER",
        move_originator_message_id=42,
    )
    return outcome.status, outcome.comment


@pytest.mark.parametrize("maximum", [0, 4096, 16382, 131072])
def test_to_gantry_itself(maximum: int) -> None:
    archive = MemoryArchive()
    settings = DicomSettings(maximum_pdu_length=maximum)
    data = data_set() * 20
    with listening(archive.handlers, settings=settings) as running:
        with associate(node(running.port), CONTEXTS, own_aet="GANTRY") as association:
            assert association.info.peer_max_pdu == maximum
            assert association.echo() == 0
            assert send(association, data) == (0, "")
            assert send(association, data, chunk=9999) == (0, "")
        assert association.is_over
    assert [bytes(item.data) for item in archive.stored] == [data, data]
    command = archive.stored[0].command
    assert (command.move_originator_aet, command.move_originator_message_id) == ("VIEWER", 42)
    assert archive.associations[0].calling_aet == "GANTRY"


def test_a_refusal_is_told_with_its_comment() -> None:
    archive = MemoryArchive(refuse_store=lambda command: InvalidInstance("no UID", tag=0x0020000D))
    with (
        listening(archive.handlers) as running,
        associate(node(running.port), CONTEXTS, own_aet="GANTRY") as association,
    ):
        assert send(association, data_set()) == (0xA900, "(0020,000D) no UID")
        assert association.echo() == 0


def test_128_contexts_and_not_one_more() -> None:
    contexts = [
        ProposedContext(abstract_syntax=f"1.2.3.{n}", transfer_syntaxes=(EXPLICIT,)) for n in range(128)
    ]
    with listening(MemoryArchive().handlers) as running:
        with associate(node(running.port), contexts, own_aet="GANTRY") as association:
            assert len(association.info.contexts) == 128
        with pytest.raises(ValueError, match="128"):
            associate(node(running.port), [*contexts, *CONTEXTS], own_aet="GANTRY")


def test_what_is_not_accepted_is_not_there() -> None:
    class TakesNone(TakesAll):
        def accept(self, requested: object, info: AssociationInfo) -> list[Acceptance | None]:
            return [None, None]

    with (
        listening(MemoryArchive().handlers, policy=TakesNone()) as running,
        associate(node(running.port), CONTEXTS, own_aet="GANTRY") as association,
    ):
        assert list(association.contexts_for(CT)) == []
        with pytest.raises(NotAcceptable):
            association.echo()


@pytest.fixture
def storescp(tool: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts DCMTK's storescp; gives its port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        running.append(
            subprocess.Popen(
                [tool("storescp"), *options, "-od", tmp_path, str(port)], stdout=subprocess.DEVNULL
            )
        )
        wait_until(lambda: answers(port))
        return int(port)

    yield start
    for process in running:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("options", [("+B",), ("+B", "--max-pdu", "4096"), ("+B", "+xa")], ids=" ".join)
def test_to_dcmtk(storescp: Callable[..., int], tmp_path: Path, options: tuple[str, ...]) -> None:
    port = storescp(*options)
    with associate(node(port), CONTEXTS, own_aet="GANTRY") as association:
        assert association.echo() == 0
        assert send(association, data_set()) == (0, "")
    (file,) = tmp_path.iterdir()
    assert file.read_bytes().endswith(data_set())


def test_to_pynetdicom() -> None:
    got: list[bytes] = []

    def keep(event: evt.Event) -> int:
        got.append(event.request.DataSet.getvalue())
        return 0x0000

    ae = AE()
    ae.add_supported_context(CT, EXPLICIT)
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        with associate(node(server.server_address[1]), CONTEXTS, own_aet="GANTRY") as association:
            assert association.echo() == 0
            assert send(association, data_set()) == (0, "")
    finally:
        server.shutdown()
    assert got == [data_set()]


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="THERE"):
        associate(node(port), CONTEXTS, own_aet="GANTRY")
    with pytest.raises(Unavailable):
        associate(Node(aet="THERE", host="no.such.invalid", port=104), CONTEXTS, own_aet="GANTRY")


def test_a_title_that_cannot_be_asked_for() -> None:
    with listening(MemoryArchive().handlers) as running, pytest.raises(Unavailable, match="title"):
        associate(Node(aet="NO\\WAY", host="127.0.0.1", port=running.port), CONTEXTS, own_aet="GANTRY")


@contextlib.contextmanager
def raw_node(behave: Callable[[RawPeer], None]) -> Iterator[Node]:
    """A node that behaves as it is told, for one association."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.settimeout(PATIENCE_SECONDS)
                with contextlib.suppress(ConnectionError):
                    behave(RawPeer(sock))

        thread = threading.Thread(target=serve)
        thread.start()
        yield node(server.getsockname()[1])
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def accept(peer: RawPeer, maximum: int = 16384) -> None:
    """Accept everything."""
    request = acse.decode_request(peer.read(), ("127.0.0.1", 0))
    peer.send(acse.negotiate(request, TakesAll(), maximum)[1])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(LIMIT_EXCEEDED, AssociationRejected, id="rejects"),
        pytest.param(ABORT_BY_USER, Unavailable, id="aborts"),
        pytest.param(b"", Unavailable, id="closes"),
        pytest.param(RELEASE_RP, Unavailable, id="answers a release"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", Unavailable, id="speaks HTTP"),
        pytest.param(p_data(pdv(1, b"xx", command=True)), Unavailable, id="sends data"),
        pytest.param(b"\2\0\0\0\0\x4a\0\1" + bytes(66) + b"\x21\0\0\2\1\0", Unavailable, id="broken answer"),
    ],
)
def test_a_node_that_does_not_accept(answer: bytes, kind: type[Unavailable]) -> None:
    def behave(peer: RawPeer) -> None:
        peer.read()
        peer.send(answer)
        if answer:
            peer.sock.shutdown(socket.SHUT_WR)
            while peer.read():
                pass

    with raw_node(behave) as there, pytest.raises(kind):
        associate(there, CONTEXTS, own_aet="GANTRY", timeouts=PATIENT)


def read_to_the_end(peer: RawPeer) -> None:
    while peer.read():
        pass


def test_a_node_that_says_nothing_is_given_up() -> None:
    with raw_node(read_to_the_end) as there, pytest.raises(Unavailable):
        associate(there, CONTEXTS, own_aet="GANTRY", timeouts=replace(PATIENT, artim=0.5))


def response(request: Command, **more: object) -> bytes:
    """A C-STORE-RSP on context 3."""
    answer = request.respond(0x0000, **more)  # type: ignore[arg-type]
    return p_data(pdv(3, messages.encode(answer), command=True))


def read_store(peer: RawPeer) -> Command:
    """A whole C-STORE; gives its command."""
    command = peer.command()
    while (raw := peer.read())[11] != 2:
        assert len(raw) - 6 <= 16384
    return command


def leave(peer: RawPeer) -> None:
    accept(peer)
    peer.command()


def leave_after_the_data(peer: RawPeer) -> None:
    accept(peer)
    read_store(peer)


def abort(peer: RawPeer) -> None:
    accept(peer)
    read_store(peer)
    peer.send(ABORT_BY_USER)


def answer_another(peer: RawPeer) -> None:
    accept(peer)
    command = read_store(peer)
    peer.send(response(Command(command_field=1, message_id=(command.message_id or 0) + 1)))
    assert peer.read()[0] == 7


def say_nothing(peer: RawPeer) -> None:
    accept(peer)
    read_store(peer)
    assert peer.read() == ABORT_BY_USER


@pytest.mark.parametrize("behave", [leave, leave_after_the_data, abort, answer_another])
def test_a_node_lost_in_a_store(behave: Callable[[RawPeer], None]) -> None:
    with raw_node(behave) as there:
        lose(associate(there, CONTEXTS, own_aet="GANTRY", timeouts=PATIENT))


def test_a_node_that_says_nothing_after_a_store() -> None:
    with raw_node(say_nothing) as there:
        lose(associate(there, CONTEXTS, own_aet="GANTRY", timeouts=replace(PATIENT, network=3)))


def test_a_node_that_takes_nothing() -> None:
    is_lost = threading.Event()

    def take_nothing(peer: RawPeer) -> None:
        accept(peer)
        is_lost.wait(PATIENCE_SECONDS)

    with raw_node(take_nothing) as there:
        lose(associate(there, CONTEXTS, own_aet="GANTRY", timeouts=replace(PATIENT, network=1)))
        is_lost.set()


def lose(association: OutboundAssociation) -> None:
    """Store until the association is lost."""
    with pytest.raises(AssociationLost), association:
        send(association, bytes(50_000_000))
    assert association.is_over
    with pytest.raises(AssociationLost):
        association.echo()
    association.release()


def test_a_data_set_that_breaks_off_aborts_the_association() -> None:
    seen: list[bytes] = []

    def behave(peer: RawPeer) -> None:
        accept(peer)
        while raw := peer.read():
            seen.append(raw)

    def chunks() -> Iterator[bytes]:
        yield bytes(1000)
        raise BlobMissing("gone")

    with raw_node(behave) as there:
        association = associate(there, CONTEXTS, own_aet="GANTRY")
        context = next(association.contexts_for(CT))
        with pytest.raises(BlobMissing), association:
            association.store(
                context=context, sop_class_uid=CT, sop_instance_uid="1.2", chunks=chunks(), length=2000
            )
    assert seen[-1] == ABORT_BY_USER
    assert not any(raw[0] == 4 and raw[11] == 2 for raw in seen)


def test_a_release_collision_is_answered() -> None:
    seen: list[bytes] = []

    def behave(peer: RawPeer) -> None:
        accept(peer)
        seen.append(peer.read())
        peer.send(RELEASE_RQ)
        seen.append(peer.read())
        peer.send(RELEASE_RP)
        seen.append(peer.read())

    with raw_node(behave) as there, associate(there, CONTEXTS, own_aet="GANTRY"):
        pass
    assert seen == [RELEASE_RQ, RELEASE_RP, b""]


def test_a_release_that_is_not_answered_does_not_hold() -> None:
    def behave(peer: RawPeer) -> None:
        accept(peer)
        read_to_the_end(peer)

    with raw_node(behave) as there:
        association = associate(there, CONTEXTS, own_aet="GANTRY", timeouts=replace(PATIENT, artim=0.5))
        association.release()


def test_roles_are_proposed() -> None:
    requested: list[RequestedContext] = []

    def behave(peer: RawPeer) -> None:
        request = acse.decode_request(peer.read(), ("127.0.0.1", 0))
        requested.extend(request.info.requested)
        peer.send(acse.negotiate(request, TakesAll(), 0)[1])
        assert peer.read() == RELEASE_RQ
        peer.send(RELEASE_RP)

    commitment = "1.2.840.10008.1.20.1"
    proposal = ProposedContext(
        abstract_syntax=commitment, transfer_syntaxes=(EXPLICIT,), scu_role=False, scp_role=True
    )
    with raw_node(behave) as there, associate(there, [proposal], own_aet="GANTRY"):
        pass
    assert (requested[0].scu_role, requested[0].scp_role) == (False, True)
