"""What a file tells of its instance, before its data set is taken."""

from __future__ import annotations

from typing import BinaryIO

from services.common.errors import InvalidInstance
from services.common.intake.checks import SOP_CLASS_UID, SOP_INSTANCE_UID, Announcement
from services.common.part10 import HeaderScanner, read_file_meta

_PIECE_BYTES = 16 * 1024
_PIECES = 64


def read_announcement(stream: BinaryIO) -> Announcement:
    """What the file that begins where `stream` stands announces; the stream is left at its data set.

    Nobody vouches for the file meta information of a file as a sender does for a C-STORE command, and real
    ones are wrong or absent: SOP class and instance are those of the data set, where it begins with them.

    Raises:
        InvalidInstance: it is no DICOM file.
    """
    start = stream.tell()
    meta = read_file_meta(stream)
    stream.seek(start + meta.data_set_offset)
    scanner = _scan_beginning(stream, meta.transfer_syntax_uid)
    stream.seek(start + meta.data_set_offset)
    return Announcement(
        transfer_syntax_uid=meta.transfer_syntax_uid,
        sop_class_uid=scanner.text(SOP_CLASS_UID) or meta.sop_class_uid,
        sop_instance_uid=scanner.text(SOP_INSTANCE_UID) or meta.sop_instance_uid,
    )


def _scan_beginning(stream: BinaryIO, transfer_syntax_uid: str) -> HeaderScanner:
    scanner = HeaderScanner(transfer_syntax_uid)
    for _ in range(_PIECES):
        piece = stream.read(_PIECE_BYTES)
        try:
            scanner.feed(piece)
        except InvalidInstance:  # it will be refused when it is taken, and all of it be kept
            break
        if not piece or scanner.text(SOP_INSTANCE_UID):
            break
    return scanner
