"""WADO-RS: the value of one attribute (PS3.18 10.4.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb import multipart
from services.api.dicomweb.accept import accepted, pick
from services.api.dicomweb.frame_forms import OCTETS, frame_form
from services.api.dicomweb.frames import frames_answer
from services.api.dicomweb.resources import instance_url, locate_one
from services.api.dicomweb.streaming import Streamed
from services.common.errors import NotFound
from services.common.model import Location
from services.common.part10 import Element, Header, is_deflated
from services.common.pixels.frames import PIXEL_DATA
from services.common.pixels.reading import DataSetReader, opened
from services.common.pixels.reencoding import swapped
from services.common.ports import Buffer

_ENCAPSULATED_DOCUMENT = 0x00420011
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")
_WORD_BYTES = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes of the words that a byte order rearranges (PS3.5 7.3)."""

router = APIRouter(prefix="/dicom-web", tags=["WADO-RS"])


@router.get("/studies/{study}/series/{series}/instances/{instance}/bulkdata/{path:path}")
def retrieve_bulk_data(
    study: str, series: str, instance: str, path: str, request: Request, archive: Here
) -> Response:
    """The value that a BulkDataURI of the metadata names, in little endian.

    Encapsulated Pixel Data has a part for each frame, in the form that the client takes frames in.
    """
    location = locate_one(archive, study, series, instance)
    stored = opened(archive.store, location.data_set, location.transfer_syntax_uid, location.header)
    with stored as (_, header):
        element, pixels = header.find(path), header.pixel_data()
    if element is None or element.items is not None:
        raise NotFound("the instance has no such value")
    url = instance_url(base_url(request), location.key)
    if pixels is not None and pixels.offset == element.offset and pixels.fragments is not None:
        form = frame_form(location, accepted(request))
        return frames_answer(archive, location, form, _all, lambda number: f"{url}/frames/{number}")
    chosen, content_type = pick(accepted(request), _media_types(element, header))
    value = _value(archive, location, element, header)
    if not chosen.is_multipart:
        return Streamed(value, media_type=content_type)
    boundary = multipart.new_boundary()
    part = multipart.Part(content_type=content_type, chunks=value, location=f"{url}/bulkdata/{quote(path)}")
    return Streamed(
        multipart.encode([part], boundary), media_type=multipart.media_type(content_type, boundary)
    )


def _all(number_of_frames: int) -> Sequence[int]:
    return range(1, number_of_frames + 1)


def _media_types(element: Element, header: Header) -> Sequence[str]:
    """What a value can be had as: an encapsulated document also as what it is (PS3.3 C.24.2)."""
    if element.tag == _ENCAPSULATED_DOCUMENT:
        document = (header.text("MIMETypeOfEncapsulatedDocument") or "").lower()
        if _MEDIA_TYPE.fullmatch(document):
            return OCTETS, document
    return (OCTETS,)


def _value(
    archive: Archive, location: Location, element: Element, header: Header
) -> Generator[Buffer, None, None]:
    """The value's bytes, in little endian whatever they are stored in (PS3.18 8.7.3.3.1)."""
    word = 1 if header.is_little_endian else _WORD_BYTES.get(element.vr, 1)
    if element.tag == PIXEL_DATA and word > 1 and header.text("BitsAllocated") == "32":
        word = 4
    deflated = is_deflated(location.transfer_syntax_uid)
    with DataSetReader(archive.store, location.data_set, deflated=deflated) as reader:
        left = b""
        for piece in reader.pieces(element.offset, element.length):
            content = left + piece
            whole = len(content) - len(content) % word
            yield swapped(content[:whole], word) if word > 1 else content
            left = content[whole:]
        yield left
