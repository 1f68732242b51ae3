"""A lossless JPEG 2000 rendition of an original, and the proof that the original comes back from it.

The blob is a Part 10 file that can be sent as it is, followed by the original's bytes before and after its
Pixel Data value.  Code streams are kept aside until every frame is proven, for their lengths stand before
them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from services.common.errors import NotAcceptable
from services.common.model import IndexedInstance, Recipe, Rendition, RenditionKind
from services.common.part10 import file_meta, is_deflated
from services.common.pixels import jobs
from services.common.pixels.assembly import Surroundings, bounded, rewritten
from services.common.pixels.description import ImageDescription, decoded_description
from services.common.pixels.encapsulation import encapsulated, encapsulated_length
from services.common.pixels.frames import StoredImage
from services.common.pixels.pool import CodecPool
from services.common.ports import BlobStore, Buffer

JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
_IN_MEMORY = 16 * 2**20
_MAX_PADDING = 4096


def make_jpeg2000(
    store: BlobStore, stored: StoredImage, instance: IndexedInstance, pool: CodecPool, key: str
) -> Rendition:
    """Encode, prove and store; nothing is stored that was not proven.

    Every frame is decoded again from its code stream.  Of an uncompressed original the whole data set is
    rebuilt and must have the original's digest.  Of a compressed one the pixels must be the same; it has no
    recipe, for its own code streams do not come back.

    Raises:
        NotAcceptable: the image cannot be encoded, or does not come back.
    """
    rebuilt = hashlib.sha256()
    prefix = bounded(stored.reader, 0, stored.location.offset)
    rebuilt.update(prefix)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as streams:
        lengths = tuple(_encode(stored, pool, streams, rebuilt.update))
        padding = _padding(stored)
        suffix = bounded(stored.reader, stored.location.end, None)
        rebuilt.update(padding + suffix)
        has_recipe = stored.is_native and not is_deflated(stored.transfer_syntax_uid)
        if has_recipe and rebuilt.hexdigest() != instance.data_set_digest:
            raise NotAcceptable("the original's digest does not come back from its pixels")
        around = rewritten(
            Surroundings(before=prefix[: stored.location.start], after=suffix),
            stored.header,
            stored.transfer_syntax_uid,
            explicit=True,
            before=stored.image,
            after=encoded_description(stored),
        )
        meta = file_meta(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.key.sop_instance_uid,
            transfer_syntax_uid=JPEG_2000_LOSSLESS,
        )
        file_length = sum(map(len, (meta, around.before, around.after))) + encapsulated_length(lengths)
        streams.seek(0)

        def content() -> Iterator[Buffer]:
            yield from (meta, around.before)
            yield from encapsulated(streams, lengths)
            yield around.after
            if has_recipe:
                yield from (prefix, suffix)

        rendition = Rendition(
            sop_instance_uid=instance.key.sop_instance_uid,
            source_digest=instance.data_set_digest,
            source_transfer_syntax_uid=instance.transfer_syntax_uid,
            kind=RenditionKind.JPEG2000,
            transfer_syntax_uid=JPEG_2000_LOSSLESS,
            file_length=file_length,
            data_set_offset=len(meta),
            recipe=_recipe(stored, file_length, len(prefix), len(suffix), padding) if has_recipe else None,
        )
        return put(store, key, rendition, content())


def put(store: BlobStore, key: str, rendition: Rendition, content: Iterator[Buffer]) -> Rendition:
    """Store the rendition's bytes under `key`; gives the rendition with its blob and digest."""
    digest = hashlib.sha256()
    writer = store.create(key)
    try:
        for piece in content:
            digest.update(piece)
            writer.write(piece)
        blob = writer.commit(
            {"source-data-set-sha256": rendition.source_digest, "file-sha256": digest.hexdigest()}
        )
    finally:
        writer.abort()
    return replace(rendition, blob=blob, digest=digest.hexdigest())


def encoded_description(stored: StoredImage) -> ImageDescription:
    """What the code streams hold: no sub-sampling, colour by pixel, no colour transform of their own."""
    if not stored.is_native:
        return decoded_description(stored.image, stored.transfer_syntax_uid)
    if stored.image.is_subsampled:
        full = stored.image.photometric_interpretation.removesuffix("_422")
        return replace(stored.image, photometric_interpretation=full, planar_configuration=0)
    return replace(stored.image, planar_configuration=0)


def _encode(
    stored: StoredImage, pool: CodecPool, streams: IO[bytes], prove: Callable[[bytes], None]
) -> Iterator[int]:
    """Append the code stream of every frame; gives their lengths."""
    interpretation = encoded_description(stored).photometric_interpretation
    for index in range(stored.image.number_of_frames):
        with jobs.encoded(pool, stored.frame(index), interpretation) as encoded:
            for piece in encoded.stream:
                streams.write(piece)
            for piece in encoded.proof:
                prove(piece)
        yield encoded.length


def _padding(stored: StoredImage) -> bytes:
    """What follows the last frame in an uncompressed value."""
    if not stored.is_native:
        return b""
    length = stored.location.length - stored.image.value_length
    if length > _MAX_PADDING:
        raise NotAcceptable(f"{length} bytes follow the last frame inside its Pixel Data")
    return stored.reader.read(stored.location.offset + stored.image.value_length, length)


def _recipe(
    stored: StoredImage, file_length: int, prefix_length: int, suffix_length: int, padding: bytes
) -> Recipe:
    return Recipe(
        prefix_offset=file_length,
        prefix_length=prefix_length,
        suffix_offset=file_length + prefix_length,
        suffix_length=suffix_length,
        padding=padding,
        planar_configuration=stored.image.planar_configuration,
        byte_order=stored.byte_order,
    )
