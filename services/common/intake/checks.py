"""What a data set must say to be stored: who it is, in valid UIDs, and the same as its sender announced."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from services.common.errors import InvalidInstance
from services.common.model import InstanceKey

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

_NAMES = {
    SOP_CLASS_UID: "SOP Class UID",
    SOP_INSTANCE_UID: "SOP Instance UID",
    STUDY_INSTANCE_UID: "Study Instance UID",
    SERIES_INSTANCE_UID: "Series Instance UID",
}
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a sender says about an instance before its data set: in the command, the file meta or the URL.

    Without `study_instance_uid` it may be of any study.
    """

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""


def without_padding(uid: str) -> str:
    """The UID without the NUL or spaces that fill it up to an even length (PS3.5 6.2, UI)."""
    return uid.rstrip("\0 ")


def identify(text: Callable[[int], str | None], announced: Announcement) -> InstanceKey:
    """The UIDs of a data set, whose `text` gives the value of a tag.

    A UID is 1 to 64 digits and dots (PS3.5 9.1; leading zeros in a component are let pass) once its
    padding is off.  Comments fit the 64 characters of (0000,0902) Error Comment.

    Raises:
        InvalidInstance: a UID is missing or none, or SOP class, instance or study are not those announced.
    """
    found = {tag: _uid(tag, text(tag)) for tag in _NAMES}
    for tag, said in (
        (SOP_CLASS_UID, announced.sop_class_uid),
        (SOP_INSTANCE_UID, announced.sop_instance_uid),
        (STUDY_INSTANCE_UID, announced.study_instance_uid or found[STUDY_INSTANCE_UID]),
    ):
        if found[tag] != without_padding(said):
            raise _refusal(tag, "is not the one announced")
    return InstanceKey(
        study_instance_uid=found[STUDY_INSTANCE_UID],
        series_instance_uid=found[SERIES_INSTANCE_UID],
        sop_instance_uid=found[SOP_INSTANCE_UID],
    )


def _uid(tag: int, text: str | None) -> str:
    uid = without_padding(text or "")
    if not uid:
        raise _refusal(tag, "is missing")
    if not _UID.fullmatch(uid):
        raise _refusal(tag, "is no valid UID")
    return uid


def _refusal(tag: int, fault: str) -> InvalidInstance:
    return InvalidInstance(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {_NAMES[tag]} {fault}", tag=tag)
