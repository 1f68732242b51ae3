"""Deflated data sets, honest and hostile."""

from __future__ import annotations

import zlib

import pytest

from services.common.errors import InvalidInstance
from services.common.part10 import Header, HeaderScanner, Inflater, is_deflated
from services.common.part10 import deflate as module
from tests.unit.common.part10.data_sets import DEFLATED, EXPLICIT, Writer, scan, uids
from tests.waiting import is_ever_quicker

W = Writer(EXPLICIT)


def deflate(data: bytes, wbits: int = -15) -> bytes:
    squeeze = zlib.compressobj(9, wbits=wbits)
    return squeeze.compress(data) + squeeze.flush()


def test_deflated_syntaxes_are_known() -> None:
    assert is_deflated(DEFLATED) and not is_deflated(EXPLICIT)


@pytest.mark.parametrize("wbits", [-15, 15])
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_header_of_a_deflated_data_set_is_that_of_the_inflated_one(wbits: int, padding: bytes) -> None:
    data = uids(W) + W.element(0x7FE00010, "OW", bytes(100_000))
    squeezed = deflate(data, wbits) + padding
    captured = scan(squeezed, DEFLATED)
    assert captured.content == scan(data).content
    assert captured.covers == len(squeezed)
    pixels = Header(captured, DEFLATED).pixel_data()
    assert pixels is not None and pixels.length == 100_000 and not pixels.truncated


def test_capture_that_stopped_covers_nothing() -> None:
    data = deflate(uids(W) + b"".join(W.element(0x00211000 + n, "LO", b"x" * 1000) for n in range(100)))
    captured = scan(data, DEFLATED)
    assert captured.covers == 0 and 60_000 < len(captured.content) <= 65536


def test_inflater_gives_back_the_bytes_in_small_pieces() -> None:
    data = bytes(range(256)) * 4096
    squeezed, inflater = deflate(data), Inflater()
    pieces = [
        piece for byte in range(0, len(squeezed), 7) for piece in inflater.feed(squeezed[byte : byte + 7])
    ]
    assert b"".join(pieces) == data and max(map(len, pieces)) <= 65536
    assert inflater.is_finished and (inflater.taken, inflater.given) == (len(squeezed), len(data))


@pytest.mark.parametrize("data", [b"\xff" * 50, uids(W) + b"not deflated at all", b"x"])
def test_what_is_not_deflated_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInstance):
        scan(data, DEFLATED)


def test_stream_cut_short_is_refused_before_pixel_data_and_kept_after() -> None:
    with pytest.raises(InvalidInstance):
        scan(deflate(uids(W))[:-4], DEFLATED)
    noise = bytes(i * i % 251 for i in range(5000))
    squeezed = deflate(uids(W) + W.element(0x7FE00010, "OW", noise))[:-50]
    assert scan(squeezed, DEFLATED).covers == len(squeezed)


@pytest.mark.parametrize("left", [-50, -1])
def test_stream_cut_short_is_refused_where_the_whole_is_judged(left: int) -> None:
    noise = bytes(i * i % 251 for i in range(5000))
    squeezed = deflate(uids(W) + W.element(0x7FE00010, "OW", noise))
    scanner = HeaderScanner(DEFLATED, whole=True)
    scanner.feed(squeezed)
    assert scanner.finish().covers == len(squeezed)
    scanner = HeaderScanner(DEFLATED, whole=True)
    scanner.feed(squeezed[:left])
    with pytest.raises(InvalidInstance, match="is cut short") as raised:
        scanner.finish()
    assert raised.value.tag == 0x7FE00010


def test_bomb_is_refused_in_bounded_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE", 8 << 20)
    bomb = deflate(uids(W) + W.element(0x7FE00010, "OW", b"", length=0xFFFFFFF0) + bytes(64 << 20))

    def feed() -> None:
        with pytest.raises(InvalidInstance, match="becomes more than"):
            HeaderScanner(DEFLATED).feed(bomb)

    assert is_ever_quicker(2.0, feed)


def test_blank_image_is_no_bomb() -> None:
    data = deflate(uids(W) + W.element(0x7FE00010, "OW", bytes(16 << 20)))
    assert scan(data, DEFLATED).covers == len(data)
