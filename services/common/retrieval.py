"""Use case: give instances out, each in the best form that the receiver accepts (C-MOVE, C-GET, WADO-RS).

A form is one of three: the original's bytes, the bytes of its JPEG 2000 rendition, or the original
converted to an uncompressed transfer syntax.  The first two leave the store untouched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from services.common.errors import BlobMissing, GantryError, NotAcceptable
from services.common.model import BlobRef, Location, RenditionKind
from services.common.ports import BlobStore, Buffer, Converter, EncodedDataSet

ANY = ("*",)
"""Accepts whatever an instance is stored in: the original always."""

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What an instance can be converted to."""

_JPEG2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
_JPEG2000 = "1.2.840.10008.1.2.4.91"
RENDERED_IN = (_JPEG2000_LOSSLESS, _JPEG2000)
"""The transfer syntaxes that a rendition can be sent in."""

_ALSO = {_JPEG2000_LOSSLESS: _JPEG2000}
"""Transfer syntaxes whose data sets are valid, as they are, in another (PS3.5 A.4.4)."""

_PIECE_BYTES = 256 * 1024
_READ_AHEAD_BYTES = 1024 * 1024

Accepted = Callable[[str], Sequence[str]]
"""The transfer syntaxes that the receiver takes for a SOP class, best first; none where it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is to be sent: the bytes of `data_set`, or a conversion of the original where it is None."""

    transfer_syntax_uid: str
    data_set: BlobRef | None


class Chunks:
    """The bytes of a data set in pieces, to be read once; the first lie in memory already."""

    def __init__(
        self, begun: Sequence[Buffer] = (), rest: Generator[Buffer, None, None] | None = None
    ) -> None:
        self._begun = deque(begun)
        self._rest = rest

    def __iter__(self) -> Iterator[Buffer]:
        return self

    def __next__(self) -> Buffer:
        if self._begun:
            return self._begun.popleft()
        if self._rest is None:
            raise StopIteration
        return next(self._rest)

    def close(self) -> None:
        """Let go of what is open; harmless a second time."""
        self._begun.clear()
        if self._rest is not None:
            self._rest.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One instance to be written out, or the `error` for which it cannot be.

    `chunks` gives the `length` bytes of the data set alone, without preamble and file meta information,
    in `transfer_syntax_uid`.  It is good until the next step of `open_instances`.
    """

    location: Location
    transfer_syntax_uid: str = ""
    length: int = 0
    chunks: Chunks = field(default_factory=Chunks)
    error: GantryError | None = None


def best_form(location: Location, accepted: Sequence[str]) -> Form:
    """The form of an instance for a receiver that takes `accepted`, best first.

    Of the original and its JPEG 2000 rendition the one whose transfer syntax the receiver names first
    goes, untouched; the original where it takes anything, and where both are JPEG 2000.  Where it takes
    neither, the original is converted to the first uncompressed transfer syntax that it takes.

    Raises:
        NotAcceptable: the receiver takes nothing that the instance can be given in.
    """
    is_jpeg2000 = location.transfer_syntax_uid in RENDERED_IN
    if tuple(accepted) == ANY or (is_jpeg2000 and location.transfer_syntax_uid in accepted):
        return Form(transfer_syntax_uid=location.transfer_syntax_uid, data_set=location.data_set)
    stored = _stored_forms(location)
    for uid in accepted:
        form = stored.get(uid)
        if form is not None:
            return form
    for uid in accepted:
        if uid in UNCOMPRESSED:
            return Form(transfer_syntax_uid=uid, data_set=None)
    raise NotAcceptable(f"it is stored in {location.transfer_syntax_uid}, which is not accepted")


def open_instances(
    locations: Iterable[Location],
    accepted: Accepted,
    store: BlobStore,
    converter: Converter,
    *,
    ahead: int = 2,
) -> Generator[Outgoing, None, None]:
    """Each instance in its best form, in order; what cannot be given out comes with its `error`.

    `ahead` instances are opened, and up to 1 MiB of each is read, before they are asked for.  Close the
    iterator, or read it to its end.
    """
    waiting: deque[Future[Outgoing]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="retrieval") as reader:
        try:
            for location in locations:
                waiting.append(reader.submit(_open, location, accepted, store, converter))
                if len(waiting) > ahead:
                    yield from _lend(waiting.popleft())
            while waiting:
                yield from _lend(waiting.popleft())
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    future.result().chunks.close()


def _lend(future: Future[Outgoing]) -> Iterator[Outgoing]:
    outgoing = future.result()
    with closing(outgoing.chunks):
        yield outgoing


def _open(location: Location, accepted: Accepted, store: BlobStore, converter: Converter) -> Outgoing:
    try:
        form = best_form(location, accepted(location.sop_class_uid))
        try:
            return _opened(location, form, store, converter)
        except BlobMissing:
            # A rendition that is lost is made again one day; until then the original serves.
            original = _original_form(location, accepted(location.sop_class_uid))
            if original is None or original == form:
                raise
            return _opened(location, original, store, converter)
    except GantryError as error:
        return Outgoing(location=location, error=error)


def _original_form(location: Location, accepted: Sequence[str]) -> Form | None:
    """The best form that needs no rendition, if there is one."""
    try:
        return best_form(replace(location, renditions=()), accepted)
    except NotAcceptable:
        return None


def _opened(location: Location, form: Form, store: BlobStore, converter: Converter) -> Outgoing:
    if form.data_set is None:
        encoded = converter.convert(location, form.transfer_syntax_uid)
    else:
        encoded = EncodedDataSet(length=form.data_set.length, pieces=_pieces(store, form.data_set))
    return Outgoing(
        location=location,
        transfer_syntax_uid=form.transfer_syntax_uid,
        length=encoded.length,
        chunks=_begun(encoded),
    )


def _stored_forms(location: Location) -> dict[str, Form]:
    """What lies in the store, by every transfer syntax that it may be sent in; the original comes first."""
    rendition = location.rendition(RenditionKind.JPEG2000)
    stored = [(location.transfer_syntax_uid, location.data_set)]
    if rendition is not None and rendition.blob is not None:
        start = rendition.data_set_offset
        stored.append(
            (rendition.transfer_syntax_uid, rendition.blob.part(start, rendition.file_length - start))
        )
    forms: dict[str, Form] = {}
    for names in (lambda uid: uid, _ALSO.get):
        for uid, data_set in stored:
            name = names(uid)
            if name is not None:
                forms.setdefault(name, Form(transfer_syntax_uid=name, data_set=data_set))
    return forms


def _pieces(store: BlobStore, data_set: BlobRef) -> Generator[Buffer, None, None]:
    left = data_set.length
    with closing(store.open(data_set)) as stream:
        while left:
            data = stream.read(min(left, _PIECE_BYTES))
            if not data:
                raise BlobMissing(f"{data_set.key} ends {left} bytes early")
            left -= len(data)
            yield data


def _begun(encoded: EncodedDataSet) -> Chunks:
    """Read the first pieces at once, so that what is missing or broken shows before anything is sent."""
    first: list[Buffer] = []
    size = 0
    for piece in encoded.pieces:
        first.append(piece)
        size += len(piece)
        if size >= min(encoded.length, _READ_AHEAD_BYTES):
            break
    return Chunks(first, encoded.pieces)
