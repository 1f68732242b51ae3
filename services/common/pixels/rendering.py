"""Pictures of stored images: thumbnails, and whatever the web asks for."""

from __future__ import annotations

from services.common.errors import NotAcceptable
from services.common.model import BlobRef, CapturedHeader
from services.common.pixels import jobs
from services.common.pixels.frames import StoredImage
from services.common.pixels.options import THUMBNAIL, RenderOptions
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import opened
from services.common.pixels.reencoding import IMPLICIT_VR_LITTLE_ENDIAN
from services.common.ports import BlobStore

_MAX_HEADER_BYTES = 32 * 2**20


def rendered(
    store: BlobStore,
    data_set: BlobRef,
    transfer_syntax_uid: str,
    pool: CodecPool,
    *,
    options: RenderOptions | None = None,
    frame: int | None = None,
    captured: CapturedHeader | None = None,
) -> bytes:
    """A picture of one frame of a stored data set (PS3.18 8.7.4), as `options` want it.

    `frame` counts from 0; None is the frame that stands for the whole, the middle one.

    Raises:
        NotAcceptable: there are no pixels, they cannot be shown, or there is no such frame.
        InvalidInstance: the data set cannot be read.
    """
    with opened(store, data_set, transfer_syntax_uid, captured) as (reader, header):
        stored = StoredImage(reader, header, transfer_syntax_uid)
        return picture_of(stored, pool, frame=frame, options=options or RenderOptions())


def picture_of(
    stored: StoredImage, pool: CodecPool, *, frame: int | None = None, options: RenderOptions = THUMBNAIL
) -> bytes:
    """A picture of a frame of an image that is open already; see `rendered`."""
    if stored.location.start > _MAX_HEADER_BYTES:
        raise NotAcceptable(f"a header of {stored.location.start} bytes is too long for a picture")
    index = stored.representative_frame if frame is None else frame
    header = stored.reader.read(0, stored.location.start)
    return jobs.picture(
        pool,
        stored.frame(index),
        index=index,
        header=header,
        implicit=stored.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        little=stored.header.is_little_endian,
        options=options,
    )
