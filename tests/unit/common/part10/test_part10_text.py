"""Text of values: character sets, padding, numbers."""

from __future__ import annotations

import struct

import pytest

from services.common.part10.text import charset_of, decode, to_unicode
from tests.unit.common.part10.data_sets import BIG_ENDIAN, Writer, header, uids

W = Writer("1.2.840.10008.1.2.1")


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        # PS3.5 annexes H, I, J and K.
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO_IR 101", b"W\xb3ka", "Włka"),
        (b"ISO_IR 109", b"\xa1", "Ħ"),
        (b"ISO_IR 110", b"\xa2", "ĸ"),
        (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
        (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
        (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
        (b"ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", "Люкceмбypг"),
        (b"ISO_IR 148", b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
        (b"ISO_IR 166", b"\xb9\xd2\xc1\xca\xa1\xd8\xc5", "นามสกุล"),
        (b"ISO_IR 203", b"\xa4", "€"),
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
        (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (b"GBK", "王^小东".encode("gbk"), "王^小东"),
        (
            rb"\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            rb"ISO 2022 IR 13\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (rb"\ISO 2022 IR 159", b"\x1b$(D\x30\x21\x1b(B", "丂"),
        (
            rb"\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (
            rb"\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
            "Zhang^XiaoDong=张^小东",
        ),
        (
            rb"ISO 2022 IR 100\ISO 2022 IR 144\ISO 2022 IR 126",
            b"J\xe9r\xf4me=\x1b-L\xbb\xee\xda=\x1b-F\xc4\xe9",
            "Jérôme=Люк=Δι",
        ),
        (b"", b"J\xe9r\xf4me", "Jérôme"),
    ],
)
def test_character_sets_of_the_standard(terms: bytes, raw: bytes, text: str) -> None:
    assert to_unicode(raw, charset_of(terms), b"\\^=") == text


@pytest.mark.parametrize(
    ("terms", "codec"),
    [
        (b"ISO-IR 100", "latin-1"),
        (b"ISO_IR_101 ", "iso8859-2"),
        (b"iso ir 101", "iso8859-2"),
        (b"ISO_IR101\0", "iso8859-2"),
        (b"ISO 2022-IR 144", "iso8859-5"),
        (b"ISO_2022_IR_149", "euc_kr"),
        (b"ISO 2022 GBK", "gbk"),
        (b"ISO 2022 58", "gb2312"),
        (b"UTF-8", "utf-8"),
        (b"utf8", "utf-8"),
        (b"nonsense", "latin-1"),
        (b"ISO_IR 999", "latin-1"),
        (b"\xff\xfe", "latin-1"),
    ],
)
def test_misspelt_and_unknown_terms(terms: bytes, codec: str) -> None:
    assert charset_of(terms) == codec


def test_designation_ends_at_a_delimiter() -> None:
    assert to_unicode(b"\x1b-L\xbb\\\xe9", "latin-1") == "Л\\é"
    assert to_unicode(b"\x1b-L\xbb\r\n\xe9", "latin-1") == "Л\r\né"
    assert to_unicode(b"\x1b-L\xbb^\xe9", "latin-1") == "Л^щ", "a caret delimits names only"


@pytest.mark.parametrize(
    "raw", [b"\x1b$B;", b"\x1b", b"\x1b$", b"\x1b$)C\xfb", b"\x1b$(Z\xe9", b"\x1b$B\xff\xfe"]
)
def test_broken_code_extensions_never_raise(raw: bytes) -> None:
    assert isinstance(to_unicode(raw, "latin-1"), str)


def test_undecodable_bytes_are_replaced() -> None:
    assert to_unicode(b"J\xe9r\xf4me", "utf-8") == "J�r�me"


@pytest.mark.parametrize(
    ("vr", "raw", "text"),
    [
        ("LO", b" both ends ", "both ends"),
        ("CS", b" A \\ B ", "A\\B"),
        ("AE", b"  GANTRY  ", "GANTRY"),
        ("IS", b" 12 \\13", "12\\13"),
        ("PN", b"Doe^Jane ", "Doe^Jane"),
        ("LT", b"  indented\\text  ", "  indented\\text"),
        ("UT", b" a \\ b ", " a \\ b"),
        ("UI", b"1.2.3\0", "1.2.3"),
        ("UI", b"1.2\0\\1.3 ", "1.2\\1.3"),
        ("TM", b"1030  ", "1030"),
        ("UC", b" x ", " x"),
        ("LO", b"a\0b\0", "ab"),
        ("SH", b"", ""),
        ("OB", b"\1\2", None),
        ("UN", b"text", None),
    ],
)
def test_padding_goes_as_the_vr_says(vr: str, raw: bytes, text: str | None) -> None:
    assert decode(vr, raw, "latin-1", little=True) == text


@pytest.mark.parametrize(
    ("vr", "code", "values", "text"),
    [
        ("US", "H", (1, 65535), "1\\65535"),
        ("SS", "h", (-1,), "-1"),
        ("UL", "I", (4294967295,), "4294967295"),
        ("SL", "i", (-5, 6), "-5\\6"),
        ("FL", "f", (0.5,), "0.5"),
        ("FD", "d", (0.1,), "0.1"),
        ("SV", "q", (-(1 << 62),), str(-(1 << 62))),
        ("UV", "Q", (1 << 63,), str(1 << 63)),
        ("AT", "HH", (0x0018, 0x1063), "00181063"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_numbers_are_decimal_text(
    vr: str, code: str, values: tuple[float, ...], text: str, order: str
) -> None:
    count = 1 if vr == "AT" else len(values)
    raw = struct.pack(order + code * count, *values)
    assert decode(vr, raw, "latin-1", little=order == "<") == text
    assert decode(vr, raw + b"\0", "latin-1", little=order == "<") == text, "half a value is passed over"


def test_item_inherits_the_character_set_and_may_have_its_own() -> None:
    name = W.element(0x00081070, "PN", "Łódź".encode())
    own = W.element(0x00080005, "CS", b"ISO_IR 100") + W.element(0x00081070, "PN", b"J\xe9r\xf4me")
    found = header(
        W.element(0x00080005, "CS", b"ISO_IR 192") + W.sequence(0x00081140, [W.item(name), W.item(own)])
    )
    sequence = found.element(0x00081140)
    assert sequence is not None and sequence.items is not None
    assert [item.text("OperatorsName") for item in sequence.items] == ["Łódź", "Jérôme"]


@pytest.mark.parametrize(("representation", "text"), [(b"\0\0", "65535"), (b"\0\1", "-1"), (None, "65535")])
def test_pixel_representation_decides_between_us_and_ss(representation: bytes | None, text: str) -> None:
    w = Writer("1.2.840.10008.1.2")
    signed = b"" if representation is None else w.element(0x00280103, "US", representation[::-1])
    smallest = w.element(0x00280106, "", b"\xff\xff")
    nested = w.sequence(0x00283000, [w.item(w.element(0x00283002, "", b"\xff\xff"))])
    found = header(uids(w) + signed + smallest + nested, "1.2.840.10008.1.2")
    assert found.text("SmallestImagePixelValue") == text
    element = found.element("ModalityLUTSequence")
    assert element is not None and element.items is not None
    assert element.items[0].text("LUTDescriptor") == text


def test_numbers_follow_the_byte_order_of_the_data_set() -> None:
    w = Writer(BIG_ENDIAN)
    assert header(uids(w) + w.element(0x00280010, "US", b"\2\0"), BIG_ENDIAN).text("Rows") == "512"
