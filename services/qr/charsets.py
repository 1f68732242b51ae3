"""Unicode to the character set that a peer asked for (PS3.3 C.12.1.1.2, PS3.5 6.1)."""

from __future__ import annotations

import re
from contextlib import suppress

UTF8 = "ISO_IR 192"

_TERM = re.compile(r"ISO[ _-]*(2022)?[ _-]*IR[ _-]*([0-9]+)", re.IGNORECASE)
_WHOLE = {"192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
_SINGLE = {
    "100": (b"\x1b-A", "latin-1"),
    "101": (b"\x1b-B", "iso8859-2"),
    "109": (b"\x1b-C", "iso8859-3"),
    "110": (b"\x1b-D", "iso8859-4"),
    "144": (b"\x1b-L", "iso8859-5"),
    "127": (b"\x1b-G", "iso8859-6"),
    "126": (b"\x1b-F", "iso8859-7"),
    "138": (b"\x1b-H", "iso8859-8"),
    "148": (b"\x1b-M", "iso8859-9"),
    "203": (b"\x1b-b", "iso8859-15"),
    "166": (b"\x1b-T", "tis-620"),
    "13": (b"\x1b)I", "shift_jis"),
}
_EXTENSIONS = {
    **_SINGLE,
    "87": (b"", "iso2022_jp"),
    "159": (b"", "iso2022_jp_1"),
    "149": (b"\x1b$)C", "euc_kr"),
    "58": (b"\x1b$)A", "gb2312"),
}
_ASCII = (b"", "ascii")
_ESCAPES_ENDED_BY = re.compile(r"([\\^=\r\n\t\f])")


class Unsayable(ValueError):
    """The text holds characters that the character set lacks."""


class CharacterSet:
    """What a Specific Character Set (0008,0005) can say; a term that nobody knows can say ASCII alone."""

    def __init__(self, terms: str) -> None:
        """Take the values of (0008,0005), joined by backslashes, misspelt as they may be."""
        self._terms = [_normal(term) for term in terms.split("\\")]
        is_default = not any(number for number, _ in self._terms)
        self.name = "" if is_default else "\\".join(map(_spelling, self._terms))
        """The terms as PS3.3 spells them; empty for the default repertoire."""
        self._extends = len(self._terms) > 1 or any(extends for _, extends in self._terms)

    def encode(self, text: str) -> bytes:
        """The text in this character set.

        Raises:
            Unsayable: it cannot be said.
        """
        if text.isascii():
            return text.encode("ascii")
        number, _ = self._terms[0]
        if number in _WHOLE:
            return _attempt(text, _WHOLE[number])
        if self._extends:
            return b"".join(map(self._extended, _ESCAPES_ENDED_BY.split(text)))
        return _attempt(text, _SINGLE.get(number, _ASCII)[1], single=True)

    def _extended(self, text: str) -> bytes:
        """A run without delimiters, at whose end every escape sequence has ended (PS3.5 6.1.2.5.3)."""
        if text.isascii():
            return text.encode("ascii")
        for place, (number, _) in enumerate(self._terms):
            escape, codec = _EXTENSIONS.get(number, _ASCII)
            with suppress(Unsayable):
                encoded = _attempt(text, codec, single=number in _SINGLE)
                return encoded if place == 0 and number in _SINGLE else escape + encoded
        raise Unsayable


def _attempt(text: str, codec: str, *, single: bool = False) -> bytes:
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError as exc:
        raise Unsayable from exc
    if single and len(encoded) != len(text):
        raise Unsayable
    return encoded


def _normal(term: str) -> tuple[str, bool]:
    """The registration number or name of a term, and whether it allows code extensions."""
    plain = term.strip(" \0").upper()
    match = _TERM.fullmatch(plain)
    if match and (match[2] in _EXTENSIONS or match[2] in _WHOLE or match[2] == "6"):
        return match[2] if match[2] != "6" else "", match[1] is not None
    if plain in _WHOLE:
        return plain, False
    return ("192", False) if plain in ("UTF-8", "UTF8") else ("", False)


def _spelling(term: tuple[str, bool]) -> str:
    number, extends = term
    if not number:
        return "ISO 2022 IR 6" if extends else ""
    if number in _WHOLE and number != "192":
        return number
    return f"ISO 2022 IR {number}" if extends else f"ISO_IR {number}"
