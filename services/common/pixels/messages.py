"""What is said between a process and its codec processes, over a socket.

A message is a head of 12 bytes (length of the JSON, length of the payload), JSON, and the payload.
Nothing is ever pickled: a codec process has met foreign bytes and is not believed.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Buffer = bytes | bytearray | memoryview
Fields = Mapping[str, Any]

_HEAD = struct.Struct(">IQ")
_MAX_FIELDS = 1 << 20
_PIECE = 1 << 18


class Broken(Exception):
    """The other side is gone, or does not speak as agreed."""


def send(connection: socket.socket, fields: Fields, length: int, payload: Iterable[Buffer]) -> None:
    """Send one message whose payload of `length` bytes comes in pieces.

    Raises:
        Broken: the connection is gone or stalls, or the payload is not of that length.
    """
    text = json.dumps(fields).encode()
    sent = 0
    try:
        connection.sendall(_HEAD.pack(len(text), length) + text)
    except OSError as exc:
        raise Broken(str(exc)) from exc
    for piece in payload:
        sent += len(piece)
        try:
            connection.sendall(piece)
        except OSError as exc:
            raise Broken(str(exc)) from exc
    if sent != length:
        raise Broken(f"a payload of {length} bytes came with {sent}")


def receive(connection: socket.socket, limit: int) -> tuple[Fields, int]:
    """The fields of the next message, and how many bytes of payload follow.

    Raises:
        Broken: the connection ended, or announces more than `limit` bytes.
    """
    text_length, length = _HEAD.unpack(b"".join(pieces(connection, _HEAD.size)))
    if text_length > _MAX_FIELDS or length > limit:
        raise Broken(f"a message announces {text_length} and {length} bytes")
    try:
        fields = json.loads(b"".join(pieces(connection, text_length)))
    except ValueError as exc:
        raise Broken("a message holds no JSON") from exc
    if not isinstance(fields, dict):
        raise Broken("a message holds no fields")
    return fields, length


def pieces(connection: socket.socket, length: int) -> Iterator[bytes]:
    """The next `length` bytes as they come.

    Raises:
        Broken: the connection ends or stalls before.
    """
    while length:
        try:
            data = connection.recv(min(length, _PIECE))
        except OSError as exc:
            raise Broken(str(exc)) from exc
        if not data:
            raise Broken("the connection ended")
        length -= len(data)
        yield data
