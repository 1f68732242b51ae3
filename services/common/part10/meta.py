"""What stands before the data set in a file: preamble, prefix, group 0002 (PS3.10 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.common.errors import InvalidInstance
from services.common.part10.encode import encode_elements
from services.common.part10.encoding import (
    BIG_ENDIAN,
    EXPLICIT,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    FORMS,
    IMPLICIT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Encoding,
    dictionary_vr,
    form_of,
    settle,
    tag_name,
)

IMPLEMENTATION_CLASS_UID = "2.25.209640025492855178759429991619150116807"
IMPLEMENTATION_VERSION_NAME = "GANTRY_010"

PREAMBLE = bytes(128)
PREFIX = b"DICM"

_LONGEST_META = 1024 * 1024
"""Bytes of group 0002 that are read, at most: private information (0002,0102) has no bound of its own."""
_HEAD = 8
_GROUP_LENGTH = 0x00020000
_PLAUSIBLE_LENGTH = 0xFFFF
_UID_BY_ENCODING = {
    IMPLICIT: IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT: EXPLICIT_VR_LITTLE_ENDIAN,
    BIG_ENDIAN: EXPLICIT_VR_BIG_ENDIAN,
}


class Readable(Protocol):
    """A binary stream, read from where it stands."""

    def read(self, size: int = -1, /) -> bytes | None:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What a file says before its data set, which begins `data_set_offset` bytes into it.

    What is not said is empty; the transfer syntax is then guessed from the data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    source_aet: str = ""
    sending_aet: str = ""
    receiving_aet: str = ""
    has_preamble: bool = True


def file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_aet: str = "",
    sending_aet: str = "",
    receiving_aet: str = "",
) -> bytes:
    """Preamble, prefix and file meta information of a file whose data set follows; AE titles where given."""
    titles = ((0x00020016, source_aet), (0x00020017, sending_aet), (0x00020018, receiving_aet))
    group = encode_elements(
        [
            (0x00020001, "OB", b"\0\1"),
            (0x00020002, "UI", sop_class_uid.encode("ascii", "replace")),
            (0x00020003, "UI", sop_instance_uid.encode("ascii", "replace")),
            (0x00020010, "UI", transfer_syntax_uid.encode("ascii", "replace")),
            (0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            (0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
            *((tag, "AE", title.encode("ascii", "replace")) for tag, title in titles if title),
        ],
        explicit=True,
    )
    length = encode_elements([(_GROUP_LENGTH, "UL", len(group).to_bytes(4, "little"))], explicit=True)
    return PREAMBLE + PREFIX + length + group


def read_file_meta(stream: Readable) -> FileMeta:
    """What stands before the data set of a file, as real files have it.

    With or without preamble, with or without group 0002; the group length is believed only where what
    follows looks no more like the group.  The stream is left somewhere behind `data_set_offset`.

    Raises:
        InvalidInstance: the stream holds no DICOM file.
    """
    buffer = _Lookahead(stream)
    begins_with_element = _looks_like_element(buffer.part(0, _HEAD))
    has_preamble = buffer.part(len(PREAMBLE), len(PREFIX)) == PREFIX
    if has_preamble and begins_with_element:
        # DICM may be the text of a data set without preamble; a preamble may look like an element.
        has_preamble = buffer.part(len(PREAMBLE) + len(PREFIX), 2) == b"\2\0"
    if has_preamble:
        start = len(PREAMBLE) + len(PREFIX)
    elif buffer.part(0, len(PREFIX)) == PREFIX:
        start = len(PREFIX)
    elif begins_with_element:
        start = 0
    else:
        raise InvalidInstance("not a DICOM file: neither a DICM prefix nor a data element at byte 0")
    found, end = _group_2(buffer, start)
    syntax = _text(found.get(0x00020010)) or _guess(buffer.part(end, _HEAD))
    return FileMeta(
        sop_class_uid=_text(found.get(0x00020002)),
        sop_instance_uid=_text(found.get(0x00020003)),
        transfer_syntax_uid=syntax,
        data_set_offset=end,
        source_aet=_text(found.get(0x00020016)),
        sending_aet=_text(found.get(0x00020017)),
        receiving_aet=_text(found.get(0x00020018)),
        has_preamble=has_preamble,
    )


class _Lookahead:
    """The beginning of a stream, read as far as it is asked for."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._read = bytearray()

    def part(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer where the stream ends."""
        while len(self._read) < offset + length:
            data = self._stream.read(max(offset + length - len(self._read), 4096))
            if not data:
                break
            self._read += data
        return bytes(self._read[offset : offset + length])


def _group_2(buffer: _Lookahead, start: int) -> tuple[dict[int, bytes], int]:
    """The elements of group 0002 that begin at `start`, and where they end."""
    found: dict[int, bytes] = {}
    position, announced_end = start, -1
    while True:
        head = buffer.part(position, 12)
        if len(head) < _HEAD or (position == announced_end and head[4:6] not in FORMS):
            break
        encoding = settle(head, EXPLICIT, outermost=True)
        group, number, length = encoding.item(head)
        tag = group << 16 | number
        if group != 0x0002:
            break
        size = _HEAD
        if encoding.explicit:
            _, size = form_of(head[4:6]) or ("UN", _HEAD)
            _, _, _, length = encoding.header(head)
            if size > _HEAD and len(head) == size:
                (length,) = encoding.long_length(head, _HEAD)
        value = buffer.part(position + size, length) if position + length < start + _LONGEST_META else b""
        if len(value) < length:
            raise InvalidInstance(f"the file ends, or goes on too long, inside {tag_name(tag)}", tag=tag)
        position += size + length
        found[tag] = value
        if tag == _GROUP_LENGTH and length == 4:
            announced_end = position + encoding.long_length(value)[0]
    return found, position


def _looks_like_element(head: bytes) -> bool:
    """Whether a data set may begin so: a known VR after the tag, or a known tag with a length that can be."""
    if len(head) < _HEAD:
        return False
    if head[4:6] in FORMS:
        return True
    group, number, length = IMPLICIT.item(head)
    return (
        0 < group < 0x0100
        and (number == 0 or dictionary_vr(group << 16 | number) != "UN")
        and length <= _PLAUSIBLE_LENGTH
    )


def _guess(head: bytes) -> str:
    """The transfer syntax that the first bytes of a data set show."""
    encoding: Encoding = settle(head, EXPLICIT, outermost=True) if len(head) == _HEAD else IMPLICIT
    return _UID_BY_ENCODING[encoding]


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1").replace("\0", "").strip()
