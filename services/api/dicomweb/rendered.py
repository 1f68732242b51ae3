"""WADO-RS: rendered instances and thumbnails (PS3.18 10.4.1.1.3 and 8.7.4)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb import multipart
from services.api.dicomweb.accept import accepted, choose, pick
from services.api.dicomweb.frames import frame_numbers
from services.api.dicomweb.render_options import options_of
from services.api.dicomweb.resources import instance_url, locate, locate_one
from services.api.dicomweb.streaming import Streamed
from services.common.errors import BlobMissing, InvalidInstance, NotAcceptable, NotFound
from services.common.model import Location, RenditionKind
from services.common.part10 import Header
from services.common.pixels.description import describe
from services.common.pixels.options import MEDIA_TYPES, THUMBNAIL, RenderOptions
from services.common.pixels.rendering import rendered

CACHE = {"Cache-Control": "private, no-store"}
"""An instance may be replaced, even by another patient's: no picture outlives its answer."""

_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"

router = APIRouter(prefix="/dicom-web", tags=["WADO-RS"])


@router.get(_STUDY + "/rendered")
@router.get(_SERIES + "/rendered")
@router.get(_INSTANCE + "/rendered")
def retrieve_rendered(
    request: Request, archive: Here, study: str, series: str = "", instance: str = ""
) -> Response:
    """Pictures: of every instance where the client takes several parts, else of one that stands for them."""
    found = locate(archive, study=study, series=series, instance=instance)
    taken, media_type = pick(accepted(request), list(MEDIA_TYPES))
    options = options_of(request.query_params, media_type)
    if taken.name != "multipart/related":
        return _picture(render(archive, representative(found), options), media_type)
    boundary = multipart.new_boundary()
    return Streamed(
        multipart.encode(_parts(archive, found, options, base_url(request)), boundary),
        media_type=multipart.media_type(media_type, boundary),
    )


@router.get(_INSTANCE + "/frames/{frames}/rendered")
def retrieve_rendered_frame(
    request: Request, archive: Here, study: str, series: str, instance: str, frames: str
) -> Response:
    """A picture of one frame."""
    frame = _only(frame_numbers(frames))
    location = locate_one(archive, study, series, instance)
    media_type = choose(accepted(request), list(MEDIA_TYPES))
    options = options_of(request.query_params, media_type)
    return _picture(render(archive, location, options, frame), media_type)


@router.get(_STUDY + "/thumbnail")
@router.get(_SERIES + "/thumbnail")
@router.get(_INSTANCE + "/thumbnail")
def retrieve_thumbnail(
    request: Request, archive: Here, study: str, series: str = "", instance: str = ""
) -> Response:
    """A small JPEG, made beforehand where there was time: its longest side has 200 pixels."""
    media_type = choose(accepted(request), [THUMBNAIL.media_type])
    found = locate(archive, study=study, series=series, instance=instance, headers=False)
    viewport = options_of(request.query_params, media_type).viewport
    if viewport is None:
        return _picture(thumbnail(archive, representative(found)), media_type)
    options = replace(THUMBNAIL, viewport=viewport, longest_side=None)
    return _picture(render(archive, representative(found), options), media_type)


@router.get(_INSTANCE + "/frames/{frames}/thumbnail")
def retrieve_frame_thumbnail(
    request: Request, archive: Here, study: str, series: str, instance: str, frames: str
) -> Response:
    """A small JPEG of one frame."""
    frame = _only(frame_numbers(frames))
    media_type = choose(accepted(request), [THUMBNAIL.media_type])
    location = locate_one(archive, study, series, instance)
    return _picture(render(archive, location, THUMBNAIL, frame), media_type)


def representative(found: Sequence[Location]) -> Location:
    """The instance that stands for all: the middle one of the first series that has pictures."""
    with_pictures = [one for one in found if one.rendition(RenditionKind.THUMBNAIL) is not None] or found
    series = with_pictures[0].key.series_instance_uid
    same = [one for one in with_pictures if one.key.series_instance_uid == series]
    return same[len(same) // 2]


def thumbnail(archive: Archive, location: Location) -> bytes:
    """The instance's thumbnail: the one that lies in the store, else made now.

    Raises:
        NotAcceptable: there are no pixels, or they cannot be shown.
    """
    kept = location.rendition(RenditionKind.THUMBNAIL)
    if kept is not None and kept.blob is not None:
        # One that is lost is made again.
        with suppress(BlobMissing), archive.store.open(kept.blob) as stream:
            return stream.readall()
    return render(archive, location, THUMBNAIL)


def render(archive: Archive, location: Location, options: RenderOptions, frame: int | None = None) -> bytes:
    """A picture of the frame with that number, from 1; None is the one that stands for the whole.

    A frame is only asked for by number where `location` has its header.

    Raises:
        NotAcceptable: there are no pixels, or they cannot be shown.
        NotFound: there is no such frame.
    """
    if frame is not None:
        count = describe(Header(location.header, location.transfer_syntax_uid)).number_of_frames
        if frame > count:
            raise NotFound(f"the image has {count} frames")
    return rendered(
        archive.store,
        location.data_set,
        location.transfer_syntax_uid,
        archive.pool,
        options=options,
        frame=None if frame is None else frame - 1,
        captured=location.header if location.header.content else None,
    )


def _parts(
    archive: Archive, found: Sequence[Location], options: RenderOptions, base: str
) -> Generator[multipart.Part, None, None]:
    """A picture of each instance that can be shown.

    Raises:
        NotAcceptable: none can.
    """
    count = 0
    for location in found:
        try:
            picture = render(archive, location, options)
        except (NotAcceptable, InvalidInstance):
            continue
        count += 1
        url = f"{instance_url(base, location.key)}/rendered"
        yield multipart.Part(content_type=options.media_type, chunks=[picture], location=url)
    if not count:
        raise NotAcceptable("none of the instances can be shown")


def _picture(content: bytes, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers=CACHE)


def _only(numbers: Sequence[int]) -> int:
    if len(numbers) != 1:
        raise NotAcceptable("one frame is rendered at a time")
    return numbers[0]
