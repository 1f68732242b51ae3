"""What stands around the pixels of a data set that Gantry writes.

The elements before and after are verbatim or re-encoded, with those changed that describe the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.common.errors import NotAcceptable
from services.common.part10 import Header
from services.common.part10.encoding import EXPLICIT, announced_by, settle
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage
from services.common.pixels.reading import DataSetReader
from services.common.pixels.reencoding import Reencoder, Replacements, spliced

MAX_HEADER_BYTES = 64 * 2**20
"""More before or after the pixels is not held in memory, and refused."""

_PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 0x00280004, 0x00280006
_STALE = (0x7FE00000, 0x7FE00001, 0x7FE00002, 0x7FE00003)
"""Group length, extended offset table and its lengths, total length: they tell of the pixels as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The bytes of an original before its Pixel Data element, and after it."""

    before: bytes
    after: bytes


def surroundings(stored: StoredImage) -> Surroundings:
    """Read what stands around the pixels; best after the pixels were read.

    Raises:
        NotAcceptable: it is too long.
    """
    location = stored.location
    return Surroundings(
        before=bounded(stored.reader, 0, location.start),
        after=bounded(stored.reader, location.end, None),
    )


def bounded(reader: DataSetReader, offset: int, length: int | None) -> bytes:
    """The bytes from `offset`, or all that follow.

    Raises:
        NotAcceptable: they are more than `MAX_HEADER_BYTES`.
    """
    out = bytearray()
    if length is not None and length > MAX_HEADER_BYTES:
        raise NotAcceptable(f"its header has {length} bytes")
    for piece in reader.pieces(offset, length):
        out += piece
        if len(out) > MAX_HEADER_BYTES:
            raise NotAcceptable("what follows its pixels is too long")
    return bytes(out)


def rewritten(
    original: Surroundings,
    header: Header,
    transfer_syntax_uid: str,
    *,
    explicit: bool,
    before: ImageDescription | None,
    after: ImageDescription | None,
) -> Surroundings:
    """`original`, whose pixels `before` describes, around pixels that `after` describes.

    Explicit VR little endian elements stay verbatim, but for those that describe the pixels otherwise.

    Raises:
        NotAcceptable: a nested image is compressed.
    """
    changes = _changes(before, after)
    announced = announced_by(transfer_syntax_uid)
    is_explicit = settle(original.before[:8].ljust(8, b"\0"), announced, outermost=True) is EXPLICIT
    if explicit and is_explicit:
        if changes:
            return Surroundings(before=spliced(original.before, header, changes), after=original.after)
        return original
    reencoder = Reencoder(
        transfer_syntax_uid,
        explicit=explicit,
        is_signed=before is not None and before.is_signed,
        replacements=changes,
    )
    return Surroundings(before=reencoder.feed(original.before), after=reencoder.feed(original.after))


def _changes(before: ImageDescription | None, after: ImageDescription | None) -> Replacements:
    changes: dict[int, bytes | None] = dict.fromkeys(_STALE)
    if before is None or after is None:
        return changes
    if before.photometric_interpretation != after.photometric_interpretation:
        text = after.photometric_interpretation.encode("ascii")
        changes[_PHOTOMETRIC_INTERPRETATION] = text + b" " * (len(text) % 2)
        changes[0x00280000] = None
    if before.planar_configuration != after.planar_configuration:
        changes[_PLANAR_CONFIGURATION] = after.planar_configuration.to_bytes(2, "little")
    return changes
