"""How elements are laid out: transfer syntaxes, value representations, and what the first bytes really show.

PS3.5 7.1 (elements), PS3.5 6.2 (value representations), PS3.5 annex A (transfer syntaxes).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, repeater_has_tag, tag_for_keyword

_DELIMITER_GROUPS = (b"\xfe\xff", b"\xff\xfe")

UNDEFINED = 0xFFFFFFFF
"""The length of a value that a delimiter ends (PS3.5 7.1.1)."""

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXEL_TAGS = frozenset((PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA))

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = frozenset(
    (
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    )
)

SHORT_VRS = frozenset(
    (
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
    )
) | {"UI", "UL", "US"}
FRAGMENT_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
LONG_VRS = FRAGMENT_VRS | {"SQ", "SV", "UC", "UN", "UR", "UT", "UV"}

FORMS: Mapping[bytes, tuple[str, int]] = {
    **{vr.encode(): (vr, 8) for vr in sorted(SHORT_VRS)},
    **{vr.encode(): (vr, 12) for vr in sorted(LONG_VRS)},
}
"""VR as it stands in the data set → VR and bytes of the element header (PS3.5 7.1.2)."""


class Encoding:
    """One of the three ways in which an element header is written."""

    __slots__ = ("explicit", "header", "item", "little", "long_length")

    def __init__(self, *, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.explicit = explicit
        self.little = little
        self.header = Struct(order + ("HH2sH" if explicit else "HHL")).unpack_from
        self.item = Struct(order + "HHL").unpack_from
        self.long_length = Struct(order + "L").unpack_from


IMPLICIT = Encoding(explicit=False, little=True)
EXPLICIT = Encoding(explicit=True, little=True)
BIG_ENDIAN = Encoding(explicit=True, little=False)

_FIRST_GROUPS = {b"\x08\0": EXPLICIT, b"\x02\0": EXPLICIT, b"\0\x08": BIG_ENDIAN}

_BY_UID = {IMPLICIT_VR_LITTLE_ENDIAN: IMPLICIT, EXPLICIT_VR_BIG_ENDIAN: BIG_ENDIAN}


def announced_by(transfer_syntax_uid: str) -> Encoding:
    """What the transfer syntax promises; encapsulated, private and unknown ones are explicit (PS3.5 A.4)."""
    return _BY_UID.get(transfer_syntax_uid, EXPLICIT)


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether data sets in that transfer syntax are deflated as a whole (PS3.5 A.5)."""
    return transfer_syntax_uid in _DEFLATED


def form_of(code: bytes) -> tuple[str, int] | None:
    """VR and header length for two bytes that stand where a VR should; None where they cannot be one.

    Future VRs have the long form (PS3.5 6.2); old software wrote ``??`` and its like in the short form.
    """
    known = FORMS.get(code)
    if known is not None:
        return known
    if code.isalpha() and code.isupper():
        return "UN", 12
    return ("UN", 8) if all(0x20 <= byte < 0x7F for byte in code) else None


def settle(head: bytes, announced: Encoding, *, outermost: bool) -> Encoding:
    """The encoding that the first 8 bytes of a data set or item show, whatever was announced.

    Explicit where a known VR stands after the tag, implicit where none can.  The byte order is doubted only
    where the outermost data set begins with group 0008, or 0002, the other way round.
    """
    group = head[:2]
    if group in _DELIMITER_GROUPS:
        return announced
    if head[4:6] in FORMS:
        if outermost and group in _FIRST_GROUPS:
            return _FIRST_GROUPS[group]
        return announced if announced.explicit else EXPLICIT
    if announced.explicit and form_of(head[4:6]) is None:
        return IMPLICIT
    return announced


_VR_BY_TAG: dict[int, str] = {tag: entry[0] for tag, entry in DicomDictionary.items() if tag >> 16 != 0xFFFE}
_AMBIGUOUS = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW", "NONE": "UN"}


@lru_cache(maxsize=4096)
def dictionary_vr(tag: int) -> str:
    """The VR of PS3.6, ``US or SS`` where the pixels decide, ``UN`` where the tag is not in it.

    Of the other ambiguous ones it gives what implicit VR data holds (PS3.5 A.1).
    """
    vr = _VR_BY_TAG.get(tag)
    if vr is not None:
        return _AMBIGUOUS.get(vr, vr)
    element = tag & 0xFFFF
    if element == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    if repeater_has_tag(tag):
        vr = dictionary_VR(tag)
        return _AMBIGUOUS.get(vr, vr)
    return "UN"


def tag_of(key: int | str) -> int:
    """The tag of a keyword of PS3.6; a tag stays what it is.

    Raises:
        KeyError: there is no such keyword.
    """
    if isinstance(key, int):
        return key
    tag = tag_for_keyword(key)
    if tag is None:
        raise KeyError(key)
    return tag


def tag_name(tag: int) -> str:
    """The tag as the standard prints it: ``(0008,0018)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
