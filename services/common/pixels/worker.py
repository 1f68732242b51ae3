"""A codec process: ``python -m services.common.pixels.worker <socket>``; see `pool`.

It takes one job at a time from the socket, under limits of its own on memory and time, and dies with
its parent.  What foreign bytes do to it stays here.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from services.common.errors import NotAcceptable
from services.common.parent import die_with_parent
from services.common.pixels import codecs, layout, messages
from services.common.pixels.codecs import BrokenStream, Decoded
from services.common.pixels.description import LOSSY_JPEG, MAX_FRAME_BYTES, ImageDescription
from services.common.pixels.options import RenderOptions, Viewport, Window
from services.common.pixels.render import render
from services.common.priority import settle_session

MAX_PAYLOAD = 2 * MAX_FRAME_BYTES + 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The fields and the parts of the payload that a job gives."""

    parts: tuple[bytes, ...]
    fields: Mapping[str, Any]


def main() -> None:
    """Serve jobs until the parent is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    parent, memory, seconds = (int(text) for text in sys.argv[2:5])
    _confine(parent, memory)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    messages.send(connection, {"ready": True}, 0, ())
    while True:
        try:
            fields, length = messages.receive(connection, MAX_PAYLOAD)
            payload = b"".join(messages.pieces(connection, length))
        except messages.Broken:
            return
        # Without a handler the signal ends the process, also while a library holds the interpreter.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = _JOBS[fields["job"]](fields, payload)
            del payload
            parts = answer.parts
            reply: Mapping[str, Any] = {"ok": True, "lengths": [*map(len, parts)], **answer.fields}
        except NotAcceptable as exc:
            reply, parts = _refusal(str(exc), exc.__cause__, told=isinstance(exc, BrokenStream)), ()
        except MemoryError as exc:
            reply, parts = _refusal("it needs more memory than a codec process may have", exc), ()
        except Exception as exc:  # noqa: BLE001  foreign bytes may raise anything; the parent decides
            reply, parts = _refusal("its pixels or their description cannot be understood", exc), ()
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            messages.send(connection, reply, sum(map(len, parts)), parts)
        except messages.Broken:
            return


def _refusal(reason: str, cause: BaseException | None, *, told: bool = False) -> Mapping[str, Any]:
    """A reason for whoever asked, and for the log alone what a library raised and where it did.

    Its own text is `told` only of code streams, for others may quote the data set.
    """
    if cause is None:
        return {"ok": False, "reason": reason[:500]}
    place = traceback.extract_tb(cause.__traceback__)[-1:]
    said = [type(cause).__name__, *(f"{Path(one.filename).name}:{one.lineno}" for one in place)]
    said += [str(cause)] if told else []
    return {"ok": False, "reason": reason[:500], "cause": " ".join(said)[:200]}


def _confine(parent: int, memory: int) -> None:
    """Bound what this process may take, silence foreign libraries, die with the parent."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    settle_session()
    # What stops the process at its start is worth reading; what libraries mutter about pixels is not.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def _decode(fields: Mapping[str, Any], payload: bytes) -> Answer:
    """A frame as an uncompressed little-endian one, laid out as `wanted` says."""
    image, wanted = ImageDescription(**fields["image"]), ImageDescription(**fields["wanted"])
    decoded = _pixels(fields, payload, image, wanted.photometric_interpretation)
    pixels, interpretation = decoded.pixels, decoded.photometric_interpretation
    if wanted.is_subsampled and f"{interpretation}_422" == wanted.photometric_interpretation:
        lossy = fields["transfer_syntax_uid"] in LOSSY_JPEG
        pixels = layout.with_shared_chrominance(pixels, exactly=not lossy)
        interpretation = wanted.photometric_interpretation
    if interpretation != wanted.photometric_interpretation:
        says = wanted.photometric_interpretation
        raise NotAcceptable(f"the frame holds {interpretation[:16]}, its data set says {says[:16]}")
    return Answer(parts=(layout.pack(pixels, wanted),), fields={})


def _encode(fields: Mapping[str, Any], payload: bytes) -> Answer:
    """A frame as a lossless JPEG 2000 stream, and what that stream gives back in the frame's own layout.

    Raises:
        NotAcceptable: the stream does not give the same pixels back.
    """
    image = ImageDescription(**fields["image"])
    decoded = _pixels(fields, payload, image, fields["interpretation"])
    whole = replace(
        image, photometric_interpretation=decoded.photometric_interpretation, planar_configuration=0
    )
    stream = codecs.encode_jpeg2000(decoded.pixels, whole)
    back = codecs.decode(stream, codecs.JPEG_2000_LOSSLESS, whole)
    if not (decoded.pixels == back.pixels).all():
        raise NotAcceptable("the JPEG 2000 stream does not give the same pixels back")
    parts: tuple[bytes, ...] = (stream,)
    if fields["transfer_syntax_uid"] is None:
        parts += (layout.pack(back.pixels, image, byte_order=fields["byte_order"]),)
    return Answer(parts=parts, fields={"photometric_interpretation": decoded.photometric_interpretation})


def _render(fields: Mapping[str, Any], payload: bytes) -> Answer:
    """A picture; the payload is the frame, then the elements before Pixel Data."""
    image = ImageDescription(**fields["image"])
    frame_length = fields["frame_length"]
    decoded = _pixels(fields, payload[:frame_length], image, "RGB")
    data_set = _data_set(payload[frame_length:], fields["implicit"], fields["little"])
    given = fields["options"]
    options = RenderOptions(
        media_type=given["media_type"],
        quality=given["quality"],
        longest_side=given["longest_side"],
        window=Window(**given["window"]) if given["window"] else None,
        viewport=Viewport(**given["viewport"]) if given["viewport"] else None,
    )
    return Answer(parts=(render(decoded, image, data_set, fields["frame"], options),), fields={})


def _pixels(fields: Mapping[str, Any], frame: bytes, image: ImageDescription, wanted: str) -> Decoded:
    syntax = fields["transfer_syntax_uid"]
    if syntax is not None:
        return codecs.decode(frame, syntax, image, wanted)
    pixels = layout.unpack(frame, image, byte_order=fields["byte_order"], first_bit=fields["first_bit"])
    full = image.photometric_interpretation.removesuffix("_422")
    return Decoded(
        pixels=pixels,
        photometric_interpretation=full if image.is_subsampled else image.photometric_interpretation,
    )


def _data_set(content: bytes, implicit: bool, little: bool) -> Dataset:
    try:
        return read_dataset(BytesIO(content), is_implicit_VR=implicit, is_little_endian=little)
    except Exception as exc:
        raise NotAcceptable("its header cannot be read") from exc


_JOBS = {"decode": _decode, "encode": _encode, "render": _render}

if __name__ == "__main__":
    main()
