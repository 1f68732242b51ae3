"""A peer that speaks the upper layer by hand, so that it can also speak it badly."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from services.common.dimse import acse, messages
from services.common.dimse.messages import Command, CommandField
from services.common.dimse.negotiation import RequestedContext
from tests.waiting import PATIENCE_SECONDS

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

ABORT_UNRECOGNIZED_PDU = bytes.fromhex("07000000000400000201")
ABORT_UNEXPECTED_PDU = bytes.fromhex("07000000000400000202")
ABORT_UNEXPECTED_PARAMETER = bytes.fromhex("07000000000400000205")
ABORT_INVALID_PARAMETER = bytes.fromhex("07000000000400000206")
ABORT_BY_USER = bytes.fromhex("07000000000400000000")
RELEASE_RQ = bytes.fromhex("05000000000400000000")
RELEASE_RP = bytes.fromhex("06000000000400000000")
LIMIT_EXCEEDED = bytes.fromhex("03000000000400020302")

CONTEXTS = (
    RequestedContext(context_id=1, abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,)),
    RequestedContext(context_id=3, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT, IMPLICIT)),
    RequestedContext(context_id=5, abstract_syntax=STUDY_ROOT_FIND, transfer_syntaxes=(EXPLICIT,)),
    RequestedContext(context_id=7, abstract_syntax=STUDY_ROOT_GET, transfer_syntaxes=(EXPLICIT,)),
)


def associate_rq(
    contexts: Sequence[RequestedContext] = CONTEXTS,
    *,
    called: str = "GANTRY",
    calling: str = "RAW",
    maximum_length: int = 16384,
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    return acse.encode_request(
        called_aet=called, calling_aet=calling, contexts=contexts, maximum_length=maximum_length
    )


def with_window(request: bytes, invoked: int, performed: int = 1) -> bytes:
    """The request with an asynchronous operations window: its last item is the user information."""
    item = struct.pack(">BxHHH", 0x53, 4, invoked, performed)
    at = request.rindex(b"\x50\0", 0, request.rindex(b"\x51\0\0\x04") + 1)
    length = int.from_bytes(request[at + 2 : at + 4], "big")
    body = request[6 : at + 2] + (length + len(item)).to_bytes(2, "big") + request[at + 4 :] + item
    return request[:2] + len(body).to_bytes(4, "big") + body


def pdv(context_id: int, data: bytes, *, command: bool, last: bool = True) -> bytes:
    """A PDV without its PDU."""
    return struct.pack(">IBB", len(data) + 2, context_id, command | last << 1) + data


def p_data(*pdvs: bytes) -> bytes:
    """A P-DATA-TF."""
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def echo_rq(message_id: int = 1) -> bytes:
    """A C-ECHO-RQ on context 1, as a P-DATA-TF."""
    command = Command(
        command_field=CommandField.C_ECHO_RQ, message_id=message_id, affected_sop_class_uid=VERIFICATION
    )
    return p_data(pdv(1, messages.encode(command), command=True))


def store_rq(message_id: int = 1, uid: str = "1.2.3") -> bytes:
    """The command set of a C-STORE-RQ."""
    return messages.encode(
        Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=message_id,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=uid,
            priority=0,
            has_data_set=True,
        )
    )


def find_rq(message_id: int = 1) -> bytes:
    """A C-FIND-RQ on context 5 with a trifling identifier, as a P-DATA-TF."""
    command = Command(
        command_field=CommandField.C_FIND_RQ,
        message_id=message_id,
        affected_sop_class_uid=STUDY_ROOT_FIND,
        priority=0,
        has_data_set=True,
    )
    identifier = b"\x08\x00\x52\x00CS\x06\x00STUDY "
    return p_data(pdv(5, messages.encode(command), command=True), pdv(5, identifier, command=False))


def cancel_rq(message_id: int = 1, context_id: int = 5) -> bytes:
    """A C-CANCEL-RQ, as a P-DATA-TF."""
    command = Command(command_field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=message_id)
    return p_data(pdv(context_id, messages.encode(command), command=True))


class RawPeer:
    """A connection on which whole PDUs are read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def read(self) -> bytes:
        """The next PDU, or nothing at the end of the connection."""
        header = self._file.read(6)
        if len(header) < 6:
            return b""
        return header + self._file.read(int.from_bytes(header[2:], "big"))

    def associate(self, request: bytes | None = None) -> bytes:
        """Associate; gives the A-ASSOCIATE-AC."""
        self.send(request or associate_rq())
        answer = self.read()
        assert answer[0] == 2, answer
        return answer

    def command(self) -> Command:
        """The next PDU, which is one whole command set."""
        raw = self.read()
        assert raw and raw[0] == 4 and raw[11] == 3, raw[:12]
        return messages.decode(raw[12:])

    def drain(self) -> None:
        """Read whatever comes until the end of the connection."""
        while not self.is_closed():
            continue

    def is_closed(self) -> bool:
        """Whether the other side has closed; waits for it."""
        try:
            return self.read() == b""
        except ConnectionResetError:
            return True


@contextlib.contextmanager
def raw_peer(port: int) -> Iterator[RawPeer]:
    """Connect by hand to a listener of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = RawPeer(sock)
        try:
            yield peer
        finally:
            peer._file.close()
