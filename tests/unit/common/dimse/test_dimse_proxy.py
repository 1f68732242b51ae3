"""PROXY protocol headers, both versions."""

from __future__ import annotations

import socket

import pytest

from services.common.dimse import proxy

V2 = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = (
    b"\x21\x11\0\x0c"
    + bytes([192, 0, 2, 7, 10, 0, 0, 1])
    + (5000).to_bytes(2, "big")
    + (104).to_bytes(2, "big")
)


def read(data: bytes) -> tuple[tuple[str, int] | None, bytes]:
    """What the header says, and what is left on the socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return proxy.read_header(ours, 2.0), ours.recv(100)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        pytest.param(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 104\r\n", ("192.0.2.7", 5000), id="v1 IPv4"),
        pytest.param(b"PROXY TCP6 2001:db8::7 ::1 5000 104\r\n", ("2001:db8::7", 5000), id="v1 IPv6"),
        pytest.param(b"PROXY UNKNOWN\r\n", None, id="v1 unknown"),
        pytest.param(V2 + TCP4, ("192.0.2.7", 5000), id="v2 IPv4"),
        pytest.param(
            V2 + b"\x21\x21\0\x24" + bytes(15) + b"\7" + bytes(16) + b"\x13\x88\0\x68",
            ("::7", 5000),
            id="v2 IPv6",
        ),
        pytest.param(V2 + b"\x21\x11\0\x10" + TCP4[4:] + b"\4\0\1x", ("192.0.2.7", 5000), id="v2 with a TLV"),
        pytest.param(V2 + b"\x20\0\0\0", None, id="v2 local"),
        pytest.param(V2 + b"\x21\0\0\0", None, id="v2 unspecified"),
    ],
)
def test_a_header_is_taken_off_and_not_a_byte_more(header: bytes, address: tuple[str, int] | None) -> None:
    assert read(header + b"\1\0DICOM") == (address, b"\1\0DICOM")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\1\0\0\0\0\xd0" + bytes(100), id="an association request"),
        pytest.param(b"PROXY TCP4 somewhere 10.0.0.1 5000 104\r\n", id="v1 without an address"),
        pytest.param(b"PROXY TCP4 192.0.2.7\r\n", id="v1 too short"),
        pytest.param(b"PROXY " + b"x" * 200, id="v1 endless"),
        pytest.param(V2 + b"\x31\x11\0\x0c" + bytes(12), id="v2 of version 3"),
        pytest.param(V2 + b"\x21\x11\xff\xff", id="v2 too long"),
        pytest.param(V2 + b"\x21\x11\0\4" + bytes(4), id="v2 too short for its addresses"),
    ],
)
def test_anything_else_is_refused(header: bytes) -> None:
    with pytest.raises(proxy.InvalidProxyHeader):
        read(header)


def test_silence_is_refused_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(proxy.InvalidProxyHeader):
        proxy.read_header(ours, 0.05)
