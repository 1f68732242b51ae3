"""WADO-RS: frames (PS3.18 10.4.1.1.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb import multipart
from services.api.dicomweb.accept import accepted
from services.api.dicomweb.frame_forms import FrameForm, frame_form
from services.api.dicomweb.parameters import whole_number
from services.api.dicomweb.resources import instance_url, locate_one
from services.api.dicomweb.streaming import Streamed
from services.common.errors import InvalidQuery, NotFound
from services.common.model import Location
from services.common.pixels.decompression import native_frame
from services.common.pixels.frames import StoredImage
from services.common.pixels.reading import opened
from services.common.ports import Buffer

LONGEST_FRAME_LIST = 100_000

router = APIRouter(prefix="/dicom-web", tags=["WADO-RS"])


@router.get("/studies/{study}/series/{series}/instances/{instance}/frames/{frames}")
def retrieve_frames(
    study: str, series: str, instance: str, frames: str, request: Request, archive: Here
) -> Response:
    """Frames by number, from 1: ``/frames/1,2,5``."""
    numbers = frame_numbers(frames)
    location = locate_one(archive, study, series, instance)
    form = frame_form(location, accepted(request))
    url = f"{instance_url(base_url(request), location.key)}/frames"
    return frames_answer(archive, location, form, lambda _: numbers, lambda number: f"{url}/{number}")


def frames_answer(
    archive: Archive,
    location: Location,
    form: FrameForm,
    choice: Callable[[int], Sequence[int]],
    url: Callable[[int], str],
) -> Response:
    """Those frames that `choice` takes of so many; `url` tells where each of them lies.

    One frame is a part of its own or, where the client prefers it, the whole body.

    Raises:
        NotFound: there is no such frame.
        NotAcceptable: the instance has no pixels, or they cannot be read in this form.
    """
    with ExitStack() as stack:
        captured = location.header if form.data_set == location.data_set else None
        reader, header = stack.enter_context(
            opened(archive.store, form.data_set, form.stored_syntax_uid, captured)
        )
        stored = StoredImage(reader, header, form.stored_syntax_uid)
        numbers = choice(stored.image.number_of_frames)
        if max(numbers) > stored.image.number_of_frames:
            raise NotFound(f"the image has {stored.image.number_of_frames} frames")
        close = stack.pop_all().close
    frame = _decoded(stored, archive) if form.is_decoded else _as_stored(stored)
    if len(numbers) == 1 and not form.is_multipart:
        return Streamed(_pieces(frame, numbers), close=close, media_type=form.content_type)
    boundary = multipart.new_boundary()
    parts = (
        multipart.Part(content_type=form.content_type, chunks=_pieces(frame, [number]), location=url(number))
        for number in numbers
    )
    return Streamed(
        multipart.encode(parts, boundary),
        close=close,
        media_type=multipart.media_type(form.media_type, boundary),
    )


def frame_numbers(text: str) -> Sequence[int]:
    """Read a frame list (PS3.18 10.4.1.1.6).

    Raises:
        InvalidQuery: it is no list of numbers from 1, or a very long one.
    """
    parts = text.split(",")
    if len(parts) > LONGEST_FRAME_LIST:
        raise InvalidQuery(f"a frame list has at most {LONGEST_FRAME_LIST} numbers")
    return [whole_number("a frame's number", part, least=1) for part in parts]


def _decoded(stored: StoredImage, archive: Archive) -> Callable[[int], Iterator[Buffer]]:
    length = stored.image.frame_length
    return lambda index: _beginning(native_frame(stored, index, archive.pool), length)


def _beginning(pieces: Iterator[Buffer], length: int) -> Iterator[Buffer]:
    """The first `length` bytes: a frame without the byte that made its value even."""
    for piece in pieces:
        yield piece[:length]
        length -= min(length, len(piece))


def _as_stored(stored: StoredImage) -> Callable[[int], Iterator[Buffer]]:
    return lambda index: iter(stored.frame(index).content)


def _pieces(frame: Callable[[int], Iterator[Buffer]], numbers: Sequence[int]) -> Iterator[Buffer]:
    """The bytes of frames, none of which is opened before it is its turn."""
    for number in numbers:
        yield from frame(number - 1)
