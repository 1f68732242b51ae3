"""Text in the character set of the question, or not at all."""

from __future__ import annotations

import pytest
from pydicom.charset import convert_encodings, decode_bytes

from services.common.part10.text import charset_of, to_unicode
from services.qr.charsets import CharacterSet, Unsayable

SAYABLE = [
    ("", "Doe^John"),
    ("ISO_IR 100", "Müller^Jürgen"),
    ("ISO_IR 101", "Dvořák^Antonín"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 148", "Şükrü"),
    ("ISO_IR 166", "สมชาย"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("GBK", "王^小东"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    ("ISO 2022 IR 6\\ISO 2022 IR 87", "山田"),
    ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", "Müller^Люк"),
]


@pytest.mark.parametrize(("terms", "text"), SAYABLE)
def test_what_is_encoded_is_read_back(terms: str, text: str) -> None:
    charset = CharacterSet(terms)
    encoded = charset.encode(text)
    assert to_unicode(encoded, charset_of(charset.name.encode()), b"\\^=") == text
    if "58" not in terms:  # pydicom leaves its escape sequences in the text
        codecs = convert_encodings(charset.name.split("\\"))
        assert decode_bytes(encoded, codecs, {"^", "="}) == text


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("", "é"),
        ("ISO_IR 6", "é"),
        ("ISO_IR 100", "山田"),
        ("ISO_IR 13", "山田"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", "홍"),
        ("\\ISO 2022 IR 149", "ü"),
        ("GBK", "😀"),
        ("nonsense", "é"),
        ("ISO_IR 999", "é"),
    ],
)
def test_what_cannot_be_said_is_refused(terms: str, text: str) -> None:
    with pytest.raises(Unsayable):
        CharacterSet(terms).encode(text)


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 100", "ISO_IR 100"),
        ("ISO IR 100", "ISO_IR 100"),
        ("iso-ir-100 \0", "ISO_IR 100"),
        ("ISO_IR_192", "ISO_IR 192"),
        ("UTF-8", "ISO_IR 192"),
        ("gb18030", "GB18030"),
        ("ISO2022IR6\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 87"),
        ("\\ISO_2022_IR_87", "\\ISO 2022 IR 87"),
        ("", ""),
        ("ISO_IR 6", ""),
        ("\\", ""),
        ("latin one", ""),
    ],
)
def test_terms_are_spelt_as_the_standard_does(terms: str, name: str) -> None:
    assert CharacterSet(terms).name == name
