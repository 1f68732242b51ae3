"""multipart/related bodies, as they come in and go out."""

from __future__ import annotations

from contextlib import closing
from email import message_from_bytes
from email.policy import HTTP
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.dicomweb import multipart
from services.api.dicomweb.multipart import Part
from services.api.dicomweb.parts import SPOOL_BYTES, PartReader
from services.common.errors import InvalidQuery

BOUNDARY = "b0"


def body(contents: list[bytes], boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    mark = f"--{boundary}".encode()
    head = b"\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(mark + head + content + b"\r\n" for content in contents) + mark + end


def read(pieces: list[bytes], boundary: str = BOUNDARY) -> list[bytes]:
    found = []
    with closing(PartReader(boundary)) as reader:
        for piece in pieces:
            reader.feed(piece)
            for part in reader.take():
                with part:
                    found.append(part.read())
        reader.finish()
    return found


@given(
    contents=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([b"\r\n--b", b"--b0", b"\r\n--b1\r\n", b"\r\n\r\n--b", b"\r"]),
        ),
        min_size=1,
        max_size=4,
    ),
    cuts=st.sets(st.integers(min_value=0, max_value=400)),
)
def test_a_body_cut_anywhere_gives_its_parts(contents: list[bytes], cuts: set[int]) -> None:
    if any(b"\r\n--b0" in b"\r\n" + content + b"\r\n" for content in contents):
        return  # that is a boundary
    whole = body(contents)
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    assert read([whole[a:b] for a, b in pairwise(places)]) == contents


@given(end=st.integers(min_value=0, max_value=200))
def test_a_body_without_its_last_boundary_is_refused(end: int) -> None:
    whole = body([b"one", b"two"])
    cut = whole[: min(end, len(whole) - 3)]
    with pytest.raises(InvalidQuery, match="last boundary"):
        read([cut])


@pytest.mark.parametrize("boundary", ["", "x" * 300, "\u4e00"])
def test_impossible_boundaries_are_refused(boundary: str) -> None:
    with pytest.raises(InvalidQuery, match="boundary"):
        PartReader(boundary)


@pytest.mark.parametrize("boundary", ["=_next'()+_,-./:=? x", "--", "a" * 70])
def test_odd_boundaries_are_read(boundary: str) -> None:
    assert read([body([b"content"], boundary)], boundary) == [b"content"]


@pytest.mark.parametrize(
    "hostile",
    [
        b"no boundary at all",
        b"--other\r\n\r\nx\r\n--other--\r\n",
        b"--b0\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b0--\r\n",
        b"--b0\r\n" + b"X: y\r\n" * 10_000 + b"\r\nx\r\n--b0--\r\n",
        b"--b0\r\nno colon\r\n\r\nx\r\n--b0--\r\n",
        b"--b0\n\nx\n--b0--\n",
    ],
    ids=["no-boundary", "other-boundary", "huge-header", "many-headers", "no-colon", "bare-newlines"],
)
def test_what_is_no_multipart_is_refused(hostile: bytes) -> None:
    with pytest.raises(InvalidQuery):
        read([hostile])


def test_a_long_part_goes_to_a_file_and_is_whole() -> None:
    content = bytes(range(256)) * (SPOOL_BYTES // 256) + b"end"
    assert read([body([content])]) == [content]


def test_parts_that_nobody_took_are_closed() -> None:
    reader = PartReader(BOUNDARY)
    reader.feed(body([b"one", b"two"]))
    first = next(reader.take())
    reader.close()
    assert list(reader.take()) == []
    assert not first.closed
    first.close()


def test_what_goes_out_is_read_by_others() -> None:
    boundary = multipart.new_boundary()
    parts = [
        Part(
            content_type="application/dicom; transfer-syntax=1.2", chunks=[b"on", b"e"], location="http://h/1"
        ),
        Part(content_type="application/dicom; transfer-syntax=1.3", chunks=[b""], location="http://h/2"),
    ]
    sent = b"".join(multipart.encode(parts, boundary))
    head = f"Content-Type: {multipart.media_type('application/dicom', boundary)}\r\n\r\n".encode()
    message = message_from_bytes(head + sent, policy=HTTP)
    found = [
        (part["Content-Type"].replace('"', ""), part["Content-Location"], part.get_payload(decode=True))
        for part in message.iter_parts()
    ]
    assert found == [
        ("application/dicom; transfer-syntax=1.2", "http://h/1", b"one"),
        ("application/dicom; transfer-syntax=1.3", "http://h/2", b""),
    ]
    assert read([sent], boundary) == [b"one", b""]
