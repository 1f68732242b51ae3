"""Text of element values: Specific Character Set to Unicode, padding, binary numbers as text.

PS3.5 6.1 (character repertoires), PS3.5 6.2 (padding), PS3.3 C.12.1.1.2 (the defined terms).  Whatever the
bytes, nothing here raises: what cannot be decoded becomes U+FFFD, and 8-bit text without a character set is
read as ISO_IR 100, as most of it was written.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

ESCAPE = b"\x1b"
DEFAULT_CHARSET = "latin-1"
"""The codec for text whose character set is not said, or not known."""

_CODECS = {
    6: "latin-1",
    13: "shift_jis",
    58: "gb2312",
    87: "iso2022_jp",
    100: "latin-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    149: "euc_kr",
    159: "iso2022_jp_2",
    166: "tis_620",
    192: "utf-8",
    203: "iso8859-15",
}
_NAMED_CODECS = {
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO2022GBK": "gbk",
    "ISO202258": "gb2312",
    "UTF8": "utf-8",
    "LATIN1": "latin-1",
}
_WITHOUT_EXTENSIONS = frozenset(("utf-8", "gb18030", "gbk"))
_TERM = re.compile(r"ISO(?:2022)?IR(\d{1,3})")

# PS3.3 tables C.12-3 and C.12-4: escape sequence → register (0 is G0, 1 is G1), codec, bytes that bring the
# codec into that state.
_DESIGNATIONS: dict[bytes, tuple[int, str, bytes]] = {
    b"(B": (0, "latin-1", b""),
    b"(J": (0, "shift_jis", b""),
    b"$B": (0, "iso2022_jp", b"\x1b$B"),
    b"$@": (0, "iso2022_jp", b"\x1b$@"),
    b"$(D": (0, "iso2022_jp_2", b"\x1b$(D"),
    b")I": (1, "shift_jis", b""),
    b"$)A": (1, "gb2312", b""),
    b"$)C": (1, "euc_kr", b""),
    b"-A": (1, "latin-1", b""),
    b"-B": (1, "iso8859-2", b""),
    b"-C": (1, "iso8859-3", b""),
    b"-D": (1, "iso8859-4", b""),
    b"-F": (1, "iso8859-7", b""),
    b"-G": (1, "iso8859-6", b""),
    b"-H": (1, "iso8859-8", b""),
    b"-L": (1, "iso8859-5", b""),
    b"-M": (1, "iso8859-9", b""),
    b"-T": (1, "tis_620", b""),
    b"-b": (1, "iso8859-15", b""),
}
_DESIGNATION = re.compile(rb"\x1b(\$[()][A-D]|\$[@B]|[()-][A-Zb])")
_RUNS = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
_CONTROLS = re.compile(rb"[\t\n\f\r]")


@lru_cache(maxsize=256)
def charset_of(terms: bytes) -> str:
    """The codec of value 1 of Specific Character Set (0008,0005), misspelt terms included.

    Code extensions announce themselves by their escape sequences, so that the other values are not needed.
    """
    first = terms.decode("latin-1").split("\\")[0]
    name = re.sub(r"[\s\0_-]", "", first).upper()
    found = _TERM.fullmatch(name)
    if found:
        return _CODECS.get(int(found[1]), DEFAULT_CHARSET)
    return _NAMED_CODECS.get(name, DEFAULT_CHARSET)


def to_unicode(raw: bytes, charset: str, delimiters: bytes = b"\\") -> str:
    """Decode bytes in a codec of `charset_of`; code extensions end at `delimiters` (PS3.5 6.1.2.5.3)."""
    if ESCAPE in raw and charset not in _WITHOUT_EXTENSIONS:
        return _decode_extended(raw, charset, delimiters)
    if raw.isascii():
        return raw.decode("ascii")
    return raw.decode(charset, "replace")


def _decode_extended(raw: bytes, charset: str, delimiters: bytes) -> str:
    """Decode text with ISO 2022 code extensions."""
    ends = re.compile(b"[" + re.escape(delimiters) + rb"\t\n\f\r]")
    initial = ("latin-1", b""), (charset, b"")
    registers = list(initial)
    out: list[str] = []
    at = 0
    for found in [*_DESIGNATION.finditer(raw), None]:
        run = raw[at : found.start() if found else len(raw)]
        while run:
            # In a two-byte set any byte below 0x80 may be half a character; only a control can end it.
            end = (_CONTROLS if registers[0][1] else ends).search(run)
            stop = end.start() if end else len(run)
            out.extend(_decode_run(part, registers) for part in _RUNS.findall(run[:stop]))
            if end:
                out.append(end[0].decode("ascii"))
                registers = list(initial)
                stop = end.end()
            run = run[stop:]
        if found:
            at = found.end()
            designation = _DESIGNATIONS.get(found[1])
            if designation:
                registers[designation[0]] = designation[1:]
    return "".join(out)


def _decode_run(part: bytes, registers: list[tuple[str, bytes]]) -> str:
    codec, prefix = registers[part[0] >> 7]
    return (prefix + part).decode(codec, "replace")


_BOTH_ENDS = frozenset(("AE", "AS", "CS", "DA", "DS", "IS", "LO", "SH"))
_SINGLE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
_CHARSET_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
TEXT_VRS = _BOTH_ENDS | _SINGLE_TEXT | _CHARSET_VRS | {"DT", "TM", "UI"}

NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
"""VR of binary numbers → struct format of one."""


def texts(vr: str, raw: bytes, charset: str) -> list[str]:
    """The values of a text VR, each without its padding (PS3.5 6.2) and without NULs."""
    if vr in _CHARSET_VRS:
        text = to_unicode(raw, charset, b"\\^=" if vr == "PN" else b"\\")
    else:
        text = raw.decode("latin-1")
    if vr == "UI":
        # A UID may end in a NUL (PS3.5 6.2); one inside makes it none, and must not make it another.
        return [value.strip(" ").rstrip("\0 ") for value in text.split("\\")]
    if "\0" in text:
        text = text.replace("\0", "")
    if vr in _SINGLE_TEXT:
        return [text.rstrip(" ")]
    if vr in _BOTH_ENDS:
        return [value.strip(" ") for value in text.split("\\")]
    return [value.rstrip(" ") for value in text.split("\\")]


def numbers(vr: str, raw: bytes, *, little: bool) -> tuple[int | float, ...]:
    """The values of a binary number VR; bytes that are no whole value are passed over."""
    code = NUMBERS[vr]
    count = len(raw) // struct.calcsize("<" + code)
    return struct.unpack_from(f"{'<' if little else '>'}{count}{code}", raw)


def tags(raw: bytes, *, little: bool) -> list[str]:
    """The values of VR AT, 8 hexadecimal digits each."""
    halves = struct.unpack_from(f"{'<' if little else '>'}{len(raw) // 4 * 2}H", raw)
    return [f"{group:04X}{number:04X}" for group, number in zip(halves[::2], halves[1::2], strict=True)]


def decode(vr: str, raw: bytes, charset: str, *, little: bool) -> str | None:
    """A value as text, several joined by a backslash; None for VRs that have none (OB, OW, UN, …)."""
    if vr in TEXT_VRS:
        return "\\".join(texts(vr, raw, charset))
    if vr in NUMBERS:
        return "\\".join(map(str, numbers(vr, raw, little=little)))
    if vr == "AT":
        return "\\".join(tags(raw, little=little))
    return None
