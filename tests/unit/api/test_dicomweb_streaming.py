"""Bodies that are made while they are sent."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from services.api.dicomweb.streaming import Streamed, encoded, json_array
from services.api.heads import HeadAsGet
from services.api.model_cache import ModelCache
from services.common.errors import BlobMissing
from services.common.model import BlobRef


class Client:
    """Takes an answer; goes away after `patience` body messages, where that is given."""

    def __init__(self, patience: int | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._patience = patience
        self._gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if self._patience is not None and len(self.messages) > self._patience:
            self._gone.set()
        await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


def take(answer: Streamed, method: str = "GET", patience: int | None = None) -> Client:
    async def run() -> Client:
        client = Client(patience)
        await HeadAsGet(answer)({"type": "http", "method": method}, client.receive, client.send)
        return client

    return asyncio.run(run())


class Pieces:
    """Pieces of a megabyte each, of which it is known how many were made and whether they were closed."""

    def __init__(self, count: int, error_after: int | None = None) -> None:
        self.made = 0
        self.closed = 0
        self._count = count
        self._error_after = error_after

    def __call__(self) -> Generator[bytes, None, None]:
        try:
            for number in range(self._count):
                if number == self._error_after:
                    raise BlobMissing("gone")
                self.made += 1
                yield bytes(2**20)
        finally:
            self.closed += 1


def test_a_body_arrives_whole_and_small_pieces_together() -> None:
    closed: list[bool] = []
    pieces: Iterator[bytes] = (b"x" for _ in range(1000))
    client = take(Streamed(pieces, close=lambda: closed.append(True), media_type="text/plain"))
    assert client.body == b"x" * 1000
    assert client.is_complete
    assert len(client.messages) == 3
    assert closed == [True]


def test_an_empty_body_is_complete() -> None:
    client = take(Streamed(iter(())))
    assert client.is_complete
    assert client.body == b""


def test_an_error_before_the_first_byte_is_raised_and_nothing_sent() -> None:
    pieces = Pieces(3, error_after=0)
    with pytest.raises(BlobMissing):
        take(Streamed(pieces()))
    assert pieces.closed == 1


def test_an_error_in_mid_stream_leaves_the_body_without_its_end() -> None:
    pieces = Pieces(9, error_after=3)
    client = take(Streamed(pieces()))
    assert len(client.body) == 3 * 2**20
    assert not client.is_complete
    assert pieces.closed == 1


def test_a_client_that_goes_away_ends_the_making() -> None:
    pieces = Pieces(10_000)
    closed: list[bool] = []
    client = take(Streamed(pieces(), close=lambda: closed.append(True)), patience=3)
    assert pieces.made < 100
    assert pieces.closed == 1
    assert closed == [True]
    assert not client.is_complete


def test_a_head_is_answered_without_making_the_body() -> None:
    pieces = Pieces(10_000)
    client = take(Streamed(pieces(), status_code=206, media_type="text/plain"), method="HEAD")
    assert client.messages[0]["status"] == 206
    assert client.is_complete
    assert client.body == b""
    assert (pieces.made, pieces.closed) == (1, 1)


def array(count: int, accept_encoding: str = "") -> Client:
    scope = {"type": "http", "headers": [(b"accept-encoding", accept_encoding.encode())]}
    models = (encoded({"number": number, "name": "\u5c71"}) for number in range(count))
    return take(json_array(Request(scope), models, "application/json", {"Warning": "w"}))


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_arrays_of_models(count: int) -> None:
    client = array(count)
    assert [model["number"] for model in json.loads(client.body)] == list(range(count))
    assert (b"warning", b"w") in client.messages[0]["headers"]


def test_arrays_are_gzipped_for_those_who_take_that() -> None:
    client = array(5000, "br, gzip")
    assert (b"content-encoding", b"gzip") in client.messages[0]["headers"]
    assert gzip.decompress(client.body) == array(5000).body
    assert len(client.body) < 40_000


def test_text_that_utf8_cannot_hold_does_not_break_an_answer() -> None:
    assert json.loads(encoded({"a": "\udcff"})) == {"a": "?"}


def blob(number: int) -> BlobRef:
    return BlobRef(bucket="b", key=f"originals/{number}", offset=0, length=1)


def test_models_are_made_once_and_the_least_used_go_first() -> None:
    made: list[int] = []

    def ask(number: int) -> bytes:
        def make() -> bytes:
            made.append(number)
            return bytes([number]) * 1000

        return cache.get(blob(number), make)

    cache = ModelCache(budget_bytes=60)
    assert ask(1) == ask(1) == bytes([1]) * 1000
    assert made == [1]
    for number in (2, 1, 3, 4, 1):
        ask(number)
    assert made[0:2] == [1, 2]
    before = len(made)
    ask(2)
    assert len(made) == before + 1


def test_a_model_beyond_the_budget_is_not_kept() -> None:
    cache = ModelCache(budget_bytes=5)
    assert cache.get(blob(1), lambda: b"a long model") == b"a long model"
    assert cache.get(blob(1), lambda: b"made anew") == b"made anew"
