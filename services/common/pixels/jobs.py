"""The jobs that codec processes do: decode a frame, encode and prove one, make a picture of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO

from services.common.errors import NotAcceptable
from services.common.pixels.description import ImageDescription
from services.common.pixels.messages import Buffer, Fields
from services.common.pixels.options import RenderOptions
from services.common.pixels.pool import CodecPool, Reply

_IN_MEMORY = 16 * 2**20
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame as it lies in a data set; `content` gives its `length` bytes once.

    Where `transfer_syntax_uid` is None it is uncompressed, its words have `byte_order`, and it begins at
    bit `first_bit` of the first byte.
    """

    image: ImageDescription
    length: int
    content: Iterable[Buffer]
    transfer_syntax_uid: str | None
    byte_order: str = "<"
    first_bit: int = 0

    @property
    def fields(self) -> Fields:
        """What a codec process must know beside the bytes."""
        return {
            "image": asdict(self.image),
            "transfer_syntax_uid": self.transfer_syntax_uid,
            "byte_order": self.byte_order,
            "first_bit": self.first_bit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A lossless JPEG 2000 stream of `length` bytes, which was decoded again and gave the same pixels.

    `stream` is to be read whole before `proof`: the frame as the stream gives it back, in its own layout.
    For a frame that was compressed before, `proof` is empty.
    """

    length: int
    stream: Iterator[bytes]
    proof: Iterator[bytes]


def decoded(pool: CodecPool, frame: Frame, wanted: ImageDescription) -> Iterator[bytes]:
    """A frame as uncompressed little-endian bytes, laid out as `wanted` describes.

    The codec process is free again before the first byte is given, for a receiver may be slow.

    Raises:
        NotAcceptable: it cannot be decoded, or to something else than what is wanted.
    """
    fields = {"job": "decode", **frame.fields, "wanted": asdict(wanted)}
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
        _decode(pool, frame, fields, wanted, kept)
        kept.seek(0)
        while piece := kept.read(_PIECE):
            yield piece


def _decode(pool: CodecPool, frame: Frame, fields: Fields, wanted: ImageDescription, kept: IO[bytes]) -> None:
    with pool.run(fields, frame.length, frame.content) as reply:
        if reply.lengths != (wanted.frame_length,):
            raise NotAcceptable("a decoded frame has another length than its data set says")
        for piece in reply.read(0):
            kept.write(piece)


@contextmanager
def encoded(pool: CodecPool, frame: Frame, interpretation: str) -> Iterator[Encoded]:
    """The frame as lossless JPEG 2000, whose samples must mean `interpretation`; read it in the block.

    Raises:
        NotAcceptable: it cannot be decoded or encoded, or does not come back the same.
    """
    fields = {"job": "encode", **frame.fields, "interpretation": interpretation}
    with pool.run(fields, frame.length, frame.content) as reply:
        _expect(reply, interpretation)
        proof = reply.read(1) if len(reply.lengths) > 1 else iter(())
        yield Encoded(length=reply.lengths[0], stream=reply.read(0), proof=proof)


def picture(
    pool: CodecPool,
    frame: Frame,
    *,
    index: int,
    header: Buffer,
    implicit: bool,
    little: bool,
    options: RenderOptions,
) -> bytes:
    """A picture of the frame with that index; `header` are the elements before Pixel Data as they lie.

    Raises:
        NotAcceptable: the frame cannot be decoded or shown.
    """
    fields = {
        "job": "render",
        **frame.fields,
        "frame": index,
        "frame_length": frame.length,
        "implicit": implicit,
        "little": little,
        "options": asdict(options),
    }

    def payload() -> Iterator[Buffer]:
        yield from frame.content
        yield header

    with pool.run(fields, frame.length + len(header), payload()) as reply:
        return b"".join(reply.read(0))


def _expect(reply: Reply, interpretation: str) -> None:
    given = reply.fields.get("photometric_interpretation")
    if given != interpretation:
        raise NotAcceptable(f"the frame holds {str(given)[:16]}, its data set says {interpretation[:16]}")
