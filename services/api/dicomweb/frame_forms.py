"""How frames go out: as they are stored, as their JPEG 2000 rendition, or decoded (PS3.18 8.7.3).

A frame has no attributes of its own: who reads it goes by the metadata, which are the original's.  So each
form is what they say, and a rendition of which they do not hold is for whole instances only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.api.dicomweb.accept import MediaRange
from services.common.errors import NotAcceptable
from services.common.model import BlobRef, Location, RenditionKind
from services.common.part10 import Header
from services.common.pixels.description import describe
from services.common.pixels.frames import NATIVE
from services.common.retrieval import EXPLICIT_VR_LITTLE_ENDIAN, UNCOMPRESSED

OCTETS = "application/octet-stream"

MEDIA_TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""The media type of a compressed frame (PS3.18 8.7.3.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameForm:
    """How frames go out: the bytes stored in `data_set`, or decoded where `is_decoded`."""

    media_type: str
    transfer_syntax_uid: str
    data_set: BlobRef
    stored_syntax_uid: str
    is_decoded: bool
    is_multipart: bool = True

    @property
    def content_type(self) -> str:
        """The Content-Type of a frame, which names its true transfer syntax."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


def frame_form(location: Location, taken: Sequence[MediaRange]) -> FrameForm:
    """The form of an instance's frames that the client likes best.

    ``transfer-syntax=*`` gives what is stored.  A client that names neither transfer syntax nor compressed
    media type gets little-endian pixels.

    Raises:
        NotAcceptable: it takes none that can be made.
    """
    stored = _stored_form(location)
    compressed = [form for form in (stored, _rendition_form(location)) if form and not form.is_decoded]
    for one in taken:
        form = _form_for(one, stored, compressed)
        if form is not None:
            media_type = form.media_type if one.takes(form.media_type) else OCTETS
            return replace(form, media_type=media_type, is_multipart=one.is_multipart)
        if one.takes(OCTETS) and one.transfer_syntax in ("", *UNCOMPRESSED):
            return replace(_decoded_form(location), is_multipart=one.is_multipart)
    raise NotAcceptable(f"frames can be had as {OCTETS}, or as {stored.media_type} as they are stored")


def _form_for(one: MediaRange, stored: FrameForm, compressed: Sequence[FrameForm]) -> FrameForm | None:
    """What of the forms that lie in the store satisfies the range."""
    if one.transfer_syntax == "*":
        return stored if one.takes(stored.media_type) or one.takes(OCTETS) else None
    for form in compressed:
        if one.transfer_syntax == form.transfer_syntax_uid and (
            one.takes(form.media_type) or one.takes(OCTETS)
        ):
            return form
        if not one.transfer_syntax and one.takes(form.media_type) and not one.takes(OCTETS):
            return form
    return None


def stored_syntax(location: Location) -> str:
    """The transfer syntax of the frames that ``transfer-syntax=*`` gives."""
    return _stored_form(location).transfer_syntax_uid


def _decoded_form(location: Location) -> FrameForm:
    return FrameForm(
        media_type=OCTETS,
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
        data_set=location.data_set,
        stored_syntax_uid=location.transfer_syntax_uid,
        is_decoded=True,
    )


def _stored_form(location: Location) -> FrameForm:
    """What is stored: encapsulated frames as they are, others as little-endian pixels."""
    uid = location.transfer_syntax_uid
    if uid in NATIVE:
        return _decoded_form(location)
    return FrameForm(
        media_type=MEDIA_TYPES.get(uid, OCTETS),
        transfer_syntax_uid=uid,
        data_set=location.data_set,
        stored_syntax_uid=uid,
        is_decoded=False,
    )


def _rendition_form(location: Location) -> FrameForm | None:
    rendition = location.rendition(RenditionKind.JPEG2000)
    if rendition is None or rendition.blob is None or not _is_colour_by_pixel(location):
        return None
    start = rendition.data_set_offset
    return FrameForm(
        media_type=MEDIA_TYPES[rendition.transfer_syntax_uid],
        transfer_syntax_uid=rendition.transfer_syntax_uid,
        data_set=rendition.blob.part(start, rendition.file_length - start),
        stored_syntax_uid=rendition.transfer_syntax_uid,
        is_decoded=False,
    )


def _is_colour_by_pixel(location: Location) -> bool:
    """Whether the metadata say of colours what holds of JPEG 2000: no planes, no sub-sampling."""
    image = describe(Header(location.header, location.transfer_syntax_uid))
    return image.planar_configuration == 0 and not image.is_subsampled
