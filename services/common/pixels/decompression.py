"""A stored data set for a receiver that takes no better form: uncompressed, explicit or implicit VR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.common.errors import NotAcceptable
from services.common.model import BlobRef, CapturedHeader
from services.common.part10 import Header
from services.common.pixels import jobs
from services.common.pixels.assembly import Surroundings, bounded, rewritten, surroundings
from services.common.pixels.description import decoded_description, frame_description
from services.common.pixels.frames import NATIVE, PIXEL_DATA, StoredImage
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import DataSetReader, opened
from services.common.pixels.reencoding import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    element_header,
    swapped,
)
from services.common.ports import BlobReader, Buffer

TARGETS = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_LONGEST_VALUE = 0xFFFFFFFE


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncompressed:
    """A data set of `length` bytes in one of `TARGETS`, to be read once."""

    transfer_syntax_uid: str
    length: int
    buffers: Iterator[Buffer]


@contextmanager
def decompressed(
    store: BlobReader,
    data_set: BlobRef,
    transfer_syntax_uid: str,
    target_transfer_syntax_uid: str,
    pool: CodecPool,
    captured: CapturedHeader | None = None,
) -> Iterator[Uncompressed]:
    """The data set in `target_transfer_syntax_uid`, its pixels decoded frame by frame as they are read.

    All elements but those that describe the pixels stay verbatim where the VR stays explicit.  Encoded
    pixels are only touched in a codec process.

    Raises:
        NotAcceptable: the target is none of `TARGETS`, or the pixels cannot be decoded; also while reading.
        InvalidInstance: the data set cannot be read.
    """
    if target_transfer_syntax_uid not in TARGETS:
        raise NotAcceptable(f"nothing is decompressed to transfer syntax {target_transfer_syntax_uid}")
    explicit = target_transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    with opened(store, data_set, transfer_syntax_uid, captured) as (reader, header):
        location = header.pixel_data()
        if location is not None and transfer_syntax_uid not in NATIVE:
            length, buffers = _decoded(StoredImage(reader, header, transfer_syntax_uid), pool, explicit)
        else:
            length, buffers = _reencoded(reader, header, transfer_syntax_uid, explicit)
        yield Uncompressed(transfer_syntax_uid=target_transfer_syntax_uid, length=length, buffers=buffers)


def _decoded(stored: StoredImage, pool: CodecPool, explicit: bool) -> tuple[int, Iterator[Buffer]]:
    """Encapsulated pixels: a codec process decodes them."""
    after = decoded_description(stored.image, stored.transfer_syntax_uid)
    if after.frame_bits % 8 and after.number_of_frames > 1:
        raise NotAcceptable("single bits of several frames do not begin at bytes")
    around = rewritten(
        surroundings(stored),
        stored.header,
        stored.transfer_syntax_uid,
        explicit=explicit,
        before=stored.image,
        after=after,
    )
    head = _pixel_header(after.value_length, "OW" if after.bits_allocated > 8 else "OB", explicit)

    def values() -> Iterator[Buffer]:
        for index in range(after.number_of_frames):
            yield from jobs.decoded(pool, stored.frame(index), replace(after, number_of_frames=1))

    return _assembled(around, head, values(), after.value_length)


def _reencoded(
    reader: DataSetReader, header: Header, transfer_syntax_uid: str, explicit: bool
) -> tuple[int, Iterator[Buffer]]:
    """Uncompressed pixels, or none: no codec is needed."""
    location = header.pixel_data()
    if location is None:
        around = Surroundings(before=bounded(reader, 0, None), after=b"")
        around = _around(around, header, transfer_syntax_uid, explicit)
        return _assembled(around, b"", iter(()), 0)
    if location.truncated or location.fragments is not None:
        raise NotAcceptable("its pixels are cut short or do not lie as the transfer syntax says")
    around = Surroundings(
        before=bounded(reader, 0, location.start), after=bounded(reader, location.end, None)
    )
    around = _around(around, header, transfer_syntax_uid, explicit)
    word = 1 if header.is_little_endian else _word_bytes(header, location.vr, location.tag)
    head = _pixel_header(location.length, location.vr, explicit, tag=location.tag)
    pieces = reader.pieces(location.offset, location.length)
    return _assembled(around, head, _swapped(pieces, word) if word > 1 else pieces, location.length)


def native_frame(stored: StoredImage, index: int, pool: CodecPool) -> Iterator[Buffer]:
    """One frame as uncompressed little-endian bytes (PS3.18 8.7.3.3.1).

    It lies as `frame_description` says, so that who reads it goes by the data set's own attributes, which
    are those of its metadata.

    Raises:
        NotAcceptable: there is no such frame, or it cannot be decoded to what the data set says.
    """
    frame = stored.frame(index)
    image = replace(frame_description(stored.image), number_of_frames=1)
    if frame.transfer_syntax_uid is not None or image.frame_bits % 8:
        return jobs.decoded(pool, frame, image)
    if frame.byte_order == "<":
        return iter(frame.content)
    if image.bits_allocated == 8 and image.frame_length % 2 and stored.image.number_of_frames > 1:
        raise NotAcceptable("frames of an odd length begin inside the words of a big-endian value")
    return _swapped(iter(frame.content), _word_bytes(stored.header, "OW", PIXEL_DATA))


def _around(original: Surroundings, header: Header, transfer_syntax_uid: str, explicit: bool) -> Surroundings:
    return rewritten(original, header, transfer_syntax_uid, explicit=explicit, before=None, after=None)


def _word_bytes(header: Header, vr: str, tag: int) -> int:
    """The words of a big-endian value: of the samples where they are larger than the VR's (PS3.5 A.3)."""
    if tag != PIXEL_DATA:
        return 8 if vr == "OD" else 4
    if vr != "OW":
        return 1
    return 4 if header.text("BitsAllocated") == "32" else 2


def _swapped(pieces: Iterator[Buffer], word: int) -> Iterator[Buffer]:
    left = b""
    for piece in pieces:
        content = left + piece
        whole = len(content) - len(content) % word
        yield swapped(content[:whole], word)
        left = content[whole:]
    yield left


def _pixel_header(length: int, vr: str, explicit: bool, tag: int = PIXEL_DATA) -> bytes:
    length += length % 2
    if length > _LONGEST_VALUE:
        raise NotAcceptable(f"{length} bytes of uncompressed pixels are too many for one element")
    return element_header(tag, vr, length, explicit=explicit)


def _assembled(
    around: Surroundings, head: bytes, value: Iterator[Buffer], value_length: int
) -> tuple[int, Iterator[Buffer]]:
    """`value` is padded to an even length (PS3.5 7.1.1)."""
    padding = bytes(value_length % 2)

    def buffers() -> Iterator[Buffer]:
        yield around.before
        yield head
        yield from value
        yield padding
        yield around.after

    whole = len(around.before) + len(head) + value_length + len(padding) + len(around.after)
    return whole, buffers()
