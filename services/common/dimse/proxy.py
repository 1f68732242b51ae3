"""The PROXY protocol, versions 1 and 2: who connected to the load balancer (proxy-protocol.txt)."""

from __future__ import annotations

import socket
import struct
import time

from services.common.errors import GantryError

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_V1 = 107
_LONGEST_V2 = 4096
_FIXED_V2 = struct.Struct(">BBH")
_TCP4, _TCP6 = 0x11, 0x21


class InvalidProxyHeader(GantryError):
    """The connection does not begin with a PROXY header."""


def read_header(sock: socket.socket, seconds: float) -> tuple[str, int] | None:
    """Take the header off `sock`: the client's address, or None where the balancer speaks for itself.

    Not one byte beyond the header is read.

    Raises:
        InvalidProxyHeader: it is none, or did not come within `seconds`.
    """
    deadline = time.monotonic() + seconds
    start = _read(sock, len(_SIGNATURE), deadline)
    if start == _SIGNATURE:
        fixed = _read(sock, _FIXED_V2.size, deadline)
        length = _FIXED_V2.unpack(fixed)[2]
        if length > _LONGEST_V2:
            raise InvalidProxyHeader(f"a header of {length} bytes")
        return parse_v2(fixed, _read(sock, length, deadline))
    line = bytearray(start)
    while not line.endswith(b"\r\n"):
        if len(line) >= _LONGEST_V1 or not line.startswith(b"PROXY "):
            raise InvalidProxyHeader
        line += _read(sock, 1, deadline)
    return parse_v1(bytes(line))


def parse_v1(line: bytes) -> tuple[str, int] | None:
    """``PROXY TCP4 source destination source-port destination-port CRLF``."""
    match line.decode("latin-1").split():
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case ["PROXY", "TCP4" | "TCP6" as family, source, _, port, _]:
            return _address(socket.AF_INET if family == "TCP4" else socket.AF_INET6, source, port)
        case _:
            raise InvalidProxyHeader


def parse_v2(fixed: bytes, addresses: bytes) -> tuple[str, int] | None:
    """The 4 bytes after the signature, and what they announce."""
    version_command, family, _ = _FIXED_V2.unpack(fixed)
    if version_command >> 4 != 2 or version_command & 0xF > 1:
        raise InvalidProxyHeader(f"version and command 0x{version_command:02X}")
    if version_command & 0xF == 0:
        return None
    for kind, size, name in ((_TCP4, 4, socket.AF_INET), (_TCP6, 16, socket.AF_INET6)):
        if family == kind:
            if len(addresses) < 2 * size + 4:
                raise InvalidProxyHeader("too short for its addresses")
            port = int.from_bytes(addresses[2 * size : 2 * size + 2], "big")
            return socket.inet_ntop(name, addresses[:size]), port
    return None


def _address(family: int, source: str, port: str) -> tuple[str, int]:
    try:
        socket.inet_pton(family, source)
        return source, int(port)
    except (OSError, ValueError) as exc:
        raise InvalidProxyHeader("no address") from exc


def _read(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray()
    try:
        while len(data) < count:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = sock.recv(count - len(data))
            if not piece:
                raise InvalidProxyHeader("the connection ended in it")
            data += piece
    except OSError as exc:
        raise InvalidProxyHeader(f"it did not come: {exc}") from exc
    finally:
        sock.settimeout(None)
    return bytes(data)
