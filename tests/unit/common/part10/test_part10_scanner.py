"""The header scanner keeps what the rules of header version 1 say, and refuses what it must."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from services.common.errors import InvalidInstance
from services.common.model import CapturedHeader
from services.common.part10 import Header, HeaderScanner, complete
from services.common.part10.encoding import tag_name
from tests.unit.common.part10.data_sets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    Writer,
    header,
    scan,
    uids,
)

W = Writer(EXPLICIT)
SYNTAXES = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])


@SYNTAXES
def test_short_data_set_is_its_own_header(syntax: str) -> None:
    data = uids(Writer(syntax))
    captured = scan(data, syntax)
    assert (captured.version, captured.content, captured.covers) == (1, data, len(data))


@SYNTAXES
def test_value_of_1024_bytes_is_kept_and_longer_one_left_out(syntax: str) -> None:
    w = Writer(syntax)
    kept, long = w.element(0x00204000, "LT", b"k" * 1024), w.element(0x00324000, "LT", b"l" * 1026)
    data = uids(w) + kept + long + w.element(0x00400241, "AE", b"AFTER ")
    captured = scan(data, syntax)
    assert captured.content == data.replace(b"l" * 1026, b"")
    found = Header(captured, syntax)
    element = found.element(0x00324000)
    assert element is not None and element.value is None
    assert data[element.offset : element.offset + element.length] == b"l" * 1026
    assert found.text(0x00204000) == "k" * 1024
    assert found.text(0x00324000) is None
    assert found.text(0x00400241) == "AFTER"


@SYNTAXES
@pytest.mark.parametrize("undefined", [False, True])
def test_long_values_inside_sequences_are_left_out_of_their_items(syntax: str, undefined: bool) -> None:
    w = Writer(syntax)
    inner = w.element(0x00400555, "SQ", b"") + w.element(0x54001010, "OW", b"w" * 5000)
    waveform = w.sequence(0x54000100, [w.item(inner, undefined=undefined)], undefined=undefined)
    data = uids(w) + waveform + w.element(0x7FE00010, "OW", b"p" * 10)
    found = header(data, syntax)
    samples = found.find("54000100/0/54001010")
    assert samples is not None and samples.value is None
    assert data[samples.offset : samples.offset + samples.length] == b"w" * 5000
    pixels = found.pixel_data()
    assert pixels is not None
    assert data[pixels.offset : pixels.offset + pixels.length] == b"p" * 10
    assert data[pixels.start : pixels.start + 4] == w.tag(0x7FE00010)
    assert pixels.end == len(data)


def test_pixel_data_is_left_out_whatever_its_length() -> None:
    found = header(uids(W) + W.element(0x7FE00010, "OW", b"px"))
    element = found.element("PixelData")
    assert element is not None and element.value is None and element.length == 2


def test_empty_pixel_data_has_an_empty_value() -> None:
    element = header(uids(W) + W.element(0x7FE00010, "OW", b"")).element("PixelData")
    assert element is not None and element.value == b""


def test_fragments_are_located_and_their_values_left_out() -> None:
    data = uids(W) + W.fragments(b"\0\0\0\0", b"a" * 30, b"b" * 2000) + W.element(0xFFFCFFFC, "OB", b"\0\0")
    captured = scan(data, JPEG)
    assert b"aaa" not in captured.content and captured.covers == len(data)
    pixels = Header(captured, JPEG).pixel_data()
    assert pixels is not None and pixels.offset_table is not None and pixels.fragments is not None
    assert [data[o : o + n] for o, n in pixels.fragments] == [b"a" * 30, b"b" * 2000]
    assert data[pixels.offset_table[0] :][:4] == b"\0\0\0\0" and pixels.offset_table[1] == 4
    assert pixels.length == 2030 and not pixels.truncated
    assert data[pixels.end - 8 :][:4] == W.tag(0xFFFEE0DD)


def test_elements_after_pixel_data_are_captured() -> None:
    data = uids(W) + W.element(0x7FE00010, "OW", b"p" * 4096) + W.element(0xFFFAFFFA, "SQ", b"")
    assert header(data).element(0xFFFAFFFA) is not None


def test_icon_pixel_data_is_not_the_images() -> None:
    icon = W.item(W.element(0x7FE00010, "OW", b"i" * 64))
    found = header(uids(W) + W.sequence(0x00880200, [icon]))
    assert found.pixel_data() is None
    assert found.find("00880200/0/7FE00010") is not None


def test_capture_stops_at_a_top_level_element_and_the_rest_is_completed() -> None:
    big = W.sequence(0x52009230, [W.item(W.element(0x00204000, "LT", b"x" * 1000))] * 100)
    data = uids(W) + big + W.element(0x7FE00010, "OW", b"p" * 500_000) + W.element(0xFFFAFFFA, "SQ", b"")
    captured = scan(data)
    assert captured.content == uids(W) and captured.covers == len(uids(W))
    reads: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return data[offset : offset + length]

    whole = complete(captured, EXPLICIT, read, len(data))
    assert whole == scan(data, limit=1 << 20)
    assert whole.covers == len(data)
    assert sum(length for _, length in reads) < 400_000, "the pixels need not be read"
    assert complete(whole, EXPLICIT, read, len(data)) is whole


def test_completion_has_a_limit_of_its_own() -> None:
    big = W.sequence(0x52009230, [W.item(W.element(0x00204000, "LT", b"x" * 1000))] * 100)
    data = uids(W) + W.element(0x00321060, "LO", b"ab") + big
    captured = scan(data, limit=60)
    partial = complete(captured, EXPLICIT, lambda o, n: data[o : o + n], len(data), limit=1000)
    assert partial.content == data[: -len(big)] and partial.covers == len(data) - len(big)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_completion_from_any_limit_gives_the_whole_header(syntax: str) -> None:
    w = Writer(syntax)
    nested = w.sequence(0x00081140, [w.item(w.element(0x00081150, "UI", b"1.2\0"))], undefined=True)
    data = (
        uids(w)
        + nested
        + w.element(0x00204000, "LT", b"c" * 3000)
        + w.element(0x7FE00010, "OW", b"p" * 70_000)
    )
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-15)
        data = squeeze.compress(data) + squeeze.flush()
    whole = scan(data, syntax)
    assert whole.covers == len(data)
    for limit in range(0, len(whole.content) + 1, 7):
        captured = scan(data, syntax, limit=limit)
        assert whole.content.startswith(captured.content)
        assert complete(captured, syntax, lambda o, n: data[o : o + min(n, 333)], len(data)) == whole


def test_uids_are_known_even_where_they_lie_beyond_the_captured_part() -> None:
    private = b"".join(W.element(0x00091000 + n, "LO", b"x" * 1000) for n in range(100))
    last = W.element(0x0020000D, "UI", b"1.2.4\0") + W.element(0x0020000E, "UI", b"1.2.5\0")
    scanner = HeaderScanner(EXPLICIT)
    scanner.feed(
        W.element(0x00080018, "UI", b"1.2.3\0") + private + last + W.element(0x00280010, "US", b"\1\0")
    )
    captured = scanner.finish()
    assert captured.covers < 64 * 1024
    assert [scanner.text(t) for t in (0x00080018, 0x0020000D, 0x0020000E)] == ["1.2.3", "1.2.4", "1.2.5"]
    assert scanner.text(0x00080016) is None
    assert scanner.text(0x00091000) == "x" * 1000
    assert scanner.text(0x00280010) is None


def test_uid_that_is_too_long_to_be_one_is_none() -> None:
    scanner = HeaderScanner(EXPLICIT)
    scanner.feed(uids(W) + W.element(0x0020000D, "UI", b"1" * 2000))
    captured = scanner.finish()
    assert scanner.text(0x0020000D) is None and Header(captured, EXPLICIT).text(0x0020000D) is None


def test_a_4_gb_value_passes_without_memory() -> None:
    scanner = HeaderScanner(EXPLICIT)
    length = 0xF0000000
    scanner.feed(uids(W) + W.element(0x7FE00010, "OW", b"", length=length))
    piece = memoryview(bytearray(1 << 20))
    tracemalloc.start()
    for _ in range(length >> 20):
        scanner.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scanner.feed(W.element(0xFFFAFFFA, "SQ", b""))
    assert peak < 100_000
    captured = scanner.finish()
    assert captured.covers > length
    assert Header(captured, EXPLICIT).element(0xFFFAFFFA) is not None


# Real files lie.


def test_missing_delimiters_are_supplied() -> None:
    open_sequence = (
        W.element(0x00081140, "SQ", b"", length=UNDEFINED) + W.tag(0xFFFEE000) + W.length(UNDEFINED)
    )
    open_sequence += W.element(0x00081150, "UI", b"1.2\0")
    found = header(uids(W) + open_sequence)
    assert found.find("00081140/0/00081150") is not None
    found = header(uids(W) + open_sequence + W.end() + W.element(0x00280010, "US", b"\1\0"))
    assert found.text("Rows") == "1"
    fragments = W.fragments(b"", b"a" * 10)[:-8]
    pixels = header(uids(W) + fragments, JPEG).pixel_data()
    assert pixels is not None and pixels.fragments is not None and len(pixels.fragments) == 1


def test_sequence_without_its_delimiter_ends_where_a_defined_length_item_does() -> None:
    inner = W.element(0x00081140, "SQ", b"", length=UNDEFINED) + W.item(W.element(0x00081150, "UI", b"1.2\0"))
    found = header(uids(W) + W.sequence(0x00081115, [W.item(inner)]) + W.element(0x00280010, "US", b"\1\0"))
    assert found.text("Rows") == "1"
    assert found.find("00081115/0/00081140/0/00081150") is not None


def test_superfluous_delimiters_are_passed_over() -> None:
    sequence = W.sequence(0x00081140, [W.item(W.element(0x00081150, "UI", b"1.2\0")), W.end()])
    found = header(uids(W) + sequence + W.tag(0xFFFEE00D) + bytes(4) + W.element(0x00280010, "US", b"\1\0"))
    assert found.text("Rows") == "1"


@pytest.mark.parametrize("announced", [IMPLICIT, EXPLICIT, BIG_ENDIAN, "1.2.3.4.private"])
@pytest.mark.parametrize("true", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_encoding_is_what_the_first_element_shows(announced: str, true: str) -> None:
    w = Writer(true)
    data = uids(w) + w.element(0x00280010, "US", b"\1\0" if true != BIG_ENDIAN else b"\0\1")
    found = header(data, announced)
    assert found.text("StudyInstanceUID") == "1.2.4"
    assert found.text("Rows") == "1"


def test_group_2_before_an_implicit_data_set_is_explicit() -> None:
    w = Writer(IMPLICIT)
    found = header(W.element(0x00020010, "UI", b"1.2\0") + uids(w), IMPLICIT)
    assert found.text("SOPInstanceUID") == "1.2.3"


def test_un_of_undefined_length_holds_implicit_items() -> None:
    w = Writer(IMPLICIT)
    private = W.element(0x00091001, "UN", b"", length=UNDEFINED)
    private += w.sequence(0, [w.item(w.element(0x00080060, "CS", b"CT"), undefined=True)])[8:] + w.end()
    found = header(uids(W)[:34] + private + W.element(0x00280010, "US", b"\1\0"))
    element = found.find("00091001/0/00080060")
    assert element is not None and (element.vr, element.value) == ("CS", b"CT")
    assert found.text("Rows") == "1"


def test_un_of_undefined_length_in_big_endian_holds_little_endian() -> None:
    big, w = Writer(BIG_ENDIAN), Writer(IMPLICIT)
    private = big.element(0x00091001, "UN", b"", length=UNDEFINED)
    private += w.item(w.element(0x00280010, "US", b"\1\0")) + w.end()
    found = header(uids(big) + private + big.element(0x00280010, "US", b"\0\2"), BIG_ENDIAN)
    item = found.element(0x00091001)
    assert item is not None and item.items is not None
    assert item.items[0].text("Rows") == "1"
    assert found.text("Rows") == "2"


def test_explicit_items_in_an_implicit_sequence_are_read() -> None:
    w = Writer(IMPLICIT)
    found = header(
        uids(w) + w.sequence(0x00081140, [w.item(W.element(0x00081150, "UI", b"1.2\0"))]), IMPLICIT
    )
    element = found.find("00081140/0/00081150")
    assert element is not None and element.value == b"1.2\0"


@pytest.mark.parametrize(("code", "wide"), [("??", False), ("  ", False), ("ZZ", True)])
def test_vr_that_nobody_knows_is_read_as_the_dictionarys(code: str, wide: bool) -> None:
    head = W.tag(0x00280010) + code.encode() + (b"\0\0" + W.length(2) if wide else b"\2\0")
    found = header(uids(W) + head + b"\1\0" + W.element(0x00280011, "US", b"\2\0"))
    assert (found.text("Rows"), found.text("Columns")) == ("1", "2")


def test_odd_lengths_are_taken_as_they_are() -> None:
    found = header(uids(W) + W.element(0x00321060, "LO", b"odd") + W.element(0x00400241, "AE", b"X"))
    assert (found.text(0x00321060), found.text(0x00400241)) == ("odd", "X")


@pytest.mark.parametrize("padding", [1, 7, 8, 100])
def test_zeros_after_the_last_element_are_padding(padding: int) -> None:
    data = uids(W) + bytes(padding)
    captured = scan(data)
    assert (captured.content, captured.covers) == (uids(W), len(data))


@pytest.mark.parametrize(
    "rest",
    [
        b"garbage",
        b"more garbage than fits a head",
        W.element(0xFFFCFFFC, "OB", b"", length=9999),
        W.element(0x7FE10010, "SQ", b"cut short", length=100),
    ],
)
def test_what_cannot_be_read_after_pixel_data_stays_out_of_the_header(rest: bytes) -> None:
    good = uids(W) + W.element(0x7FE00010, "OW", b"p" * 10) + W.element(0x7FE00011, "LO", b"after ")
    captured = scan(good + rest)
    assert (captured.content, captured.covers) == (scan(good).content, len(good + rest))


@pytest.mark.parametrize("cut", [1, 100, 4999])
def test_pixel_data_cut_short_is_read_and_said_so(cut: int) -> None:
    pixels = header((uids(W) + W.element(0x7FE00010, "OW", b"p" * 5000))[:-cut]).pixel_data()
    assert pixels is not None and pixels.truncated and pixels.length == 5000
    pixels = header((uids(W) + W.fragments(b"", b"p" * 5000))[: -8 - cut], JPEG).pixel_data()
    assert pixels is not None and pixels.truncated and pixels.fragments is not None


# A data set that is judged to its end.

NATIVE_PIXELS = uids(W) + W.element(0x7FE00010, "OW", b"p" * 5000)
FRAGMENTS = uids(W) + W.fragments(b"", b"p" * 5000)
ITEMS = W.sequence(
    0x00400555, [W.item(W.element(0x0040A043, "LO", b"x" * 6), undefined=True)], undefined=True
)


def scan_whole(
    data: bytes, syntax: str = EXPLICIT, *, limit: int = 65536, step: int = 1000
) -> CapturedHeader:
    scanner = HeaderScanner(syntax, limit=limit, whole=True)
    for start in range(0, len(data), step):
        scanner.feed(data[start : start + step])
    return scanner.finish()


@pytest.mark.parametrize("limit", [0, 65536])
@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("data", "says", "tag"),
    [
        pytest.param(NATIVE_PIXELS[:-1], "4999 of 5000 bytes came", 0x7FE00010, id="native"),
        pytest.param(NATIVE_PIXELS[:-5000], "0 of 5000 bytes came", 0x7FE00010, id="native, none came"),
        pytest.param(
            uids(W) + W.element(0x7FE00010, "OW", b"p" * 10, length=0xFFFFFFFE),
            "10 of 4294967294 bytes came",
            0x7FE00010,
            id="native, lying length",
        ),
        pytest.param(FRAGMENTS[:-9], "4999 of 5000 bytes came", 0x7FE00010, id="fragment"),
        pytest.param(FRAGMENTS[:-8], "no delimiter came at its end", 0x7FE00010, id="no delimiter"),
        pytest.param(FRAGMENTS[:-4], "the data set ends inside it", 0x7FE00010, id="half a delimiter"),
        pytest.param(
            FRAGMENTS[:-8] + bytes(32), "no delimiter came at its end", 0x7FE00010, id="zeros for a delimiter"
        ),
        pytest.param(
            FRAGMENTS[:-8] + W.element(0x7FE10010, "LO", b"ok"),
            "no delimiter came at its end",
            0x7FE00010,
            id="an element for a delimiter",
        ),
        pytest.param(
            NATIVE_PIXELS + W.element(0xFFFCFFFC, "OB", b"p" * 3000, length=9998),
            "3000 of 9998 bytes came",
            0xFFFCFFFC,
            id="long element behind pixels",
        ),
        pytest.param(
            NATIVE_PIXELS + W.element(0x7FE10011, "LO", b"p" * 3, length=8),
            "3 of 8 bytes came",
            0x7FE10011,
            id="private element behind pixels",
        ),
        pytest.param(
            NATIVE_PIXELS + W.element(0x7FE11010, "SQ", b"", length=100),
            "the data set ends inside it",
            0x7FE11010,
            id="sequence behind pixels",
        ),
        pytest.param(uids(W) + ITEMS[:-8], "no delimiter came at its end", 0x00400555, id="sequence"),
        pytest.param(uids(W) + ITEMS[:-16], "no delimiter came at its end", 0x00400555, id="item"),
        pytest.param(
            uids(W) + W.element(0x00204000, "LT", b"x" * 2000)[:-1],
            "1999 of 2000 bytes came",
            0x00204000,
            id="long value",
        ),
        pytest.param(uids(W)[:-1], "5 of 6 bytes came", 0x0020000E, id="short value"),
    ],
)  # fmt: skip
def test_a_data_set_that_is_cut_short_is_refused_where_the_whole_is_judged(
    data: bytes, says: str, tag: int, limit: int, step: int
) -> None:
    with pytest.raises(InvalidInstance) as raised:
        scan_whole(data, limit=limit, step=step)
    assert str(raised.value) == f"{tag_name(tag)} is cut short: {says}"
    assert raised.value.tag == tag
    assert len(str(raised.value)) <= 64


@pytest.mark.parametrize("limit", [0, 100, 65536])
@pytest.mark.parametrize(
    "data",
    [
        NATIVE_PIXELS,
        FRAGMENTS,
        uids(W) + W.element(0x7FE00010, "OB", b"odd"),
        uids(W) + W.fragments(b"", b"odd"),
        NATIVE_PIXELS + b"garbage",
        NATIVE_PIXELS + b"more garbage than fits a head",
        NATIVE_PIXELS + bytes(1000),
        FRAGMENTS + b"\0" * 7,
        NATIVE_PIXELS + b"\xff" * 64,
        NATIVE_PIXELS + W.element(0xFFFCFFFC, "OB", bytes(2000)),
        uids(W) + ITEMS,
    ],
)
def test_padding_and_odd_lengths_are_whole_data_sets(data: bytes, limit: int) -> None:
    assert scan_whole(data, limit=limit) == scan(data, limit=limit)


def test_a_data_set_is_judged_to_its_end_behind_what_the_header_holds() -> None:
    long = b"".join(W.element(0x00091000 + n, "LO", b"x" * 60) for n in range(2000))
    data = uids(W) + W.element(0x00090010, "LO", b"LONG") + long + W.element(0x7FE00010, "OW", b"p" * 9000)
    captured = scan_whole(data)
    assert captured == scan(data) and captured.covers < len(data)
    with pytest.raises(InvalidInstance, match=r"\(7FE0,0010\) is cut short: 8990 of 9000 bytes came"):
        scan_whole(data[:-10])
    assert scan(data[:-10]) == captured


# Refusals.


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        pytest.param(uids(W)[:-1], 0x0020000E, id="ends inside a value"),
        pytest.param(uids(W) + b"\x28\0\x10\0U", 0x00280010, id="ends inside an element header"),
        pytest.param(
            W.element(0x00204000, "LT", b"x" * 2000)[:-1], 0x00204000, id="ends inside a long value"
        ),
        pytest.param(W.element(0x00081140, "SQ", b"", length=50), 0x00081140, id="ends inside a sequence"),
        pytest.param(uids(W) + b"\x28\0\x10\0\1\2\3\4", 0x00280010, id="no VR"),
        pytest.param(uids(W) + W.item(b""), 0xFFFEE000, id="item outside a sequence"),
        pytest.param(W.element(0x00081140, "SQ", b"no item."), 0x00081140, id="sequence without items"),
        pytest.param(
            W.sequence(0x00081140, [W.item(W.element(0x00081150, "UI", b"", length=64))]) + bytes(100),
            0x00081150,
            id="element beyond its item",
        ),
        pytest.param(
            W.element(0x00081140, "SQ", W.tag(0xFFFEE000) + W.length(99)) + bytes(100),
            0x00081140,
            id="item beyond its sequence",
        ),
        pytest.param(
            W.sequence(0x00081140, [W.item(W.element(0x00081115, "SQ", b"", length=64))]) + bytes(100),
            0x00081115,
            id="sequence beyond its item",
        ),
        pytest.param(
            W.element(0x00204000, "UT", b"", length=UNDEFINED), 0x00204000, id="text without length"
        ),
        pytest.param(
            W.element(0x00880200, "SQ", b"", length=UNDEFINED)
            + W.tag(0xFFFEE000)
            + W.length(UNDEFINED)
            + W.element(0x7FE00010, "OB", b"", length=UNDEFINED)
            + W.tag(0xFFFEE000)
            + W.length(UNDEFINED),
            0x7FE00010,
            id="fragment of an icon without length",
        ),
    ],
)
def test_what_cannot_be_a_data_set_is_refused_by_tag(data: bytes, tag: int) -> None:
    with pytest.raises(InvalidInstance) as caught:
        scan(data)
    assert caught.value.tag == tag
    assert f"({tag >> 16:04X},{tag & 0xFFFF:04X})" in str(caught.value)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(("depth", "refused"), [(128, False), (129, True), (10_000, True)])
def test_nesting_has_an_end(undefined: bool, depth: int, refused: bool) -> None:
    w = W
    if undefined:
        one = w.element(0x00081140, "SQ", b"", length=UNDEFINED) + w.tag(0xFFFEE000) + w.length(UNDEFINED)
        data = uids(w) + one * depth
    else:
        levels = range(depth)
        heads = [
            w.element(0x00081140, "SQ", b"", length=20 * n + 8) + w.tag(0xFFFEE000) + w.length(20 * n)
            for n in reversed(levels)
        ]
        data = uids(w) + b"".join(heads)
    if refused:
        with pytest.raises(InvalidInstance, match="nested more than 128 deep"):
            scan(data)
    else:
        assert scan(data).covers == len(data)
