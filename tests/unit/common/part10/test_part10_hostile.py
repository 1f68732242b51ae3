"""Whatever the bytes and however they are cut: one answer, or InvalidInstance, in bounded time."""

from __future__ import annotations

import io
import json
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10 import DataSet, Header, HeaderScanner, complete, dicom_json, read_file_meta
from services.common.part10.text import charset_of, to_unicode
from tests.unit.common.part10.data_sets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    Writer,
    scan,
    uids,
)

FUZZED = settings(deadline=None, database=None, max_examples=80, suppress_health_check=list(HealthCheck))
FUZZED_MORE = settings(FUZZED, max_examples=150)

W = Writer(EXPLICIT)
_syntaxes = st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN])
_sizes = st.sampled_from([0, 1, 2, 3, 7, 8, 64, 1022, 1024, 1025, 3000])
_leaves = st.tuples(
    st.sampled_from(
        [
            (0x00080005, "CS"),
            (0x00080060, "CS"),
            (0x00091001, "UN"),
            (0x00100010, "PN"),
            (0x00189073, "FD"),
            (0x00204000, "LT"),
            (0x00280010, "US"),
            (0x00281201, "OW"),
            (0x00420011, "OB"),
        ]
    ),
    _sizes,
)


@st.composite
def _contents(draw: st.DrawFn, writer: Writer, depth: int = 0) -> bytes:
    """Elements with sequences among them."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        if depth < 4 and draw(st.booleans()):
            items = draw(st.lists(_contents(writer, depth + 1), max_size=3))
            made = [writer.item(item, undefined=draw(st.booleans())) for item in items]
            tag = draw(st.sampled_from([0x00081140, 0x00400555, 0x52009230]))
            parts.append(writer.sequence(tag, made, undefined=draw(st.booleans())))
        else:
            (tag, vr), size = draw(_leaves)
            parts.append(writer.element(tag, vr, b"v" * size))
    return b"".join(parts)


@st.composite
def _data_sets(draw: st.DrawFn) -> tuple[str, bytes]:
    """A transfer syntax and a valid data set in it."""
    syntax = draw(_syntaxes)
    writer = Writer(syntax)
    data = uids(writer) + draw(_contents(writer))
    pixels = draw(st.sampled_from(["none", "native", "fragments"]))
    if pixels == "native":
        data += writer.element(0x7FE00010, "OW", b"p" * draw(_sizes))
    elif pixels == "fragments":
        data += writer.fragments(*(b"f" * size for size in draw(st.lists(_sizes, max_size=4))))
    return syntax, data + draw(_contents(writer))


def _scan_in_pieces(
    data: bytes, syntax: str, cuts: list[int], limit: int, *, whole: bool = False
) -> CapturedHeader:
    scanner = HeaderScanner(syntax, limit=limit, whole=whole)
    buffer = bytearray()
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        buffer[:] = data[begin:end]
        scanner.feed(memoryview(buffer))
        buffer[:] = b"\xaa" * len(buffer)  # what was fed may be reused
    return scanner.finish()


def _outcome(
    data: bytes, syntax: str, cuts: list[int], limit: int, *, whole: bool = False
) -> CapturedHeader | tuple[str, int | None]:
    try:
        return _scan_in_pieces(data, syntax, cuts, limit, whole=whole)
    except InvalidInstance as exc:
        return str(exc), exc.tag


def _check_places(data_set: DataSet, data: bytes) -> None:
    for element in data_set.elements():
        if element.items is not None:
            for item in element.items:
                _check_places(item, data)
        elif element.value is not None:
            assert data[element.offset : element.offset + element.length] == element.value
        elif element.length > 1024 and element.tag != 0x7FE00010:
            assert data[element.offset : element.offset + element.length] == b"v" * element.length


@FUZZED
@given(_data_sets(), st.data())
def test_header_is_the_same_however_the_data_set_is_cut(made: tuple[str, bytes], draw: st.DataObject) -> None:
    syntax, data = made
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=30)))
    limit = draw.draw(st.sampled_from([0, 100, 300, 2000, 65536]))
    captured = scan(data, syntax, limit=limit)
    assert _scan_in_pieces(data, syntax, cuts, limit) == captured
    found = Header(captured, syntax)
    _check_places(found, data)
    whole = complete(captured, syntax, lambda o, n: data[o : o + n], len(data))
    assert whole == scan(data, syntax) and whole.covers == len(data)
    assert whole.content.startswith(captured.content)
    _check_places(Header(whole, syntax), data)
    json.dumps(dicom_json(found, str), allow_nan=False)


@FUZZED
@given(_data_sets(), st.integers(1, 50))
def test_header_of_a_deflated_data_set_is_the_same_however_it_is_cut(
    made: tuple[str, bytes], step: int
) -> None:
    _, data = made
    squeeze = zlib.compressobj(wbits=-15)
    squeezed = squeeze.compress(data) + squeeze.flush()
    cuts = list(range(step, len(squeezed), step))
    assert _scan_in_pieces(squeezed, DEFLATED, cuts, 65536) == scan(squeezed, DEFLATED)


@FUZZED
@given(_data_sets(), st.data())
def test_data_set_cut_short_is_refused_or_read_the_same_way(
    made: tuple[str, bytes], draw: st.DataObject
) -> None:
    syntax, data = made
    data = data[: draw.draw(st.integers(0, len(data)))]
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    outcome = _outcome(data, syntax, cuts, 65536)
    assert outcome == _outcome(data, syntax, [], 65536)
    if isinstance(outcome, CapturedHeader):
        Header(outcome, syntax).pixel_data()
    for limit in (100, 65536):
        judged = _outcome(data, syntax, cuts, limit, whole=True)
        assert judged == _outcome(data, syntax, [], limit, whole=True)
        if isinstance(judged, CapturedHeader):  # whole data sets are read as by any other scanner
            assert judged == _outcome(data, syntax, [], limit)


@FUZZED_MORE
@given(_data_sets(), st.data())
def test_broken_data_sets_are_read_or_refused(made: tuple[str, bytes], draw: st.DataObject) -> None:
    syntax, good = made
    data = bytearray(good)
    for position in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        data[position] = draw.draw(st.sampled_from([0, 1, 4, 0x10, 0x20, 0x41, 0x7F, 0x80, 0xFE, 0xFF]))
    announced = draw.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG, syntax]))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    limit = draw.draw(st.sampled_from([100, 65536]))
    outcome = _outcome(bytes(data), announced, cuts, limit)
    assert outcome == _outcome(bytes(data), announced, [], limit)
    if isinstance(outcome, CapturedHeader):
        found = Header(outcome, announced)
        found.pixel_data()
        for element in found.elements():
            found.text(element.tag)
        json.dumps(dicom_json(found, str), allow_nan=False)


@FUZZED_MORE
@given(st.binary(max_size=600), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG, DEFLATED, "1.2.3"]))
def test_random_bytes_are_read_or_refused(data: bytes, syntax: str) -> None:
    for start in (b"", uids(W), uids(W) + W.element(0x00081140, "SQ", b"", length=UNDEFINED)):
        outcome = _outcome(start + data, syntax, [], 65536)
        if isinstance(outcome, CapturedHeader):
            json.dumps(dicom_json(Header(outcome, syntax), str), allow_nan=False)


@FUZZED
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x02\0", b"\x08\0", bytes(128) + b"DICM\x02\0"]))
def test_random_files_have_a_meta_or_are_refused(data: bytes, start: bytes) -> None:
    try:
        found = read_file_meta(io.BytesIO(start + data))
    except InvalidInstance:
        return
    assert 0 <= found.data_set_offset <= len(start + data)


@FUZZED
@given(st.binary(max_size=60), st.binary(max_size=20))
def test_any_text_in_any_character_set_is_decoded(raw: bytes, terms: bytes) -> None:
    for codec in (charset_of(terms), "latin-1", "shift_jis", "iso2022_jp", "euc_kr", "gb18030", "utf-8"):
        to_unicode(raw, codec).encode("utf-8")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(W.element(0x00280010, "US", b"") * 200_000, id="empty elements"),
        pytest.param(W.sequence(0x00081140, [W.item(b"")] * 200_000), id="empty items"),
        pytest.param(W.fragments(*[b""] * 200_000), id="empty fragments"),
        pytest.param((W.tag(0xFFFEE00D) + bytes(4)) * 200_000, id="stray delimiters"),
        pytest.param(uids(W) + bytes(1_600_000), id="zeros"),
        pytest.param(
            uids(W)
            + (W.element(0x00081140, "SQ", b"", length=UNDEFINED) + W.tag(0xFFFEE000) + b"\xff" * 4) * 80_000,
            id="nesting",
        ),
    ],
)
@pytest.mark.parametrize("step", [0, 16378, 1000])
def test_many_small_things_take_time_in_proportion(data: bytes, step: int) -> None:
    begun = time.process_time()
    scanner = HeaderScanner(EXPLICIT)
    try:
        for position in range(0, len(data), step or len(data)):
            scanner.feed(data[position : position + (step or len(data))])
        captured = scanner.finish()
    except InvalidInstance:
        captured = CapturedHeader(version=1, content=b"", covers=0)
    dicom_json(Header(captured, EXPLICIT), None)
    assert len(captured.content) <= 65536
    assert time.process_time() - begun < 2


def test_a_byte_at_a_time_is_not_quadratic() -> None:
    data = (
        uids(W) + W.element(0x00204000, "LT", b"x" * 1024) * 20 + W.element(0x00324000, "LT", b"y" * 50_000)
    )
    begun = time.process_time()
    assert _scan_in_pieces(data, EXPLICIT, list(range(1, len(data))), 65536) == scan(data)
    assert time.process_time() - begun < 2
