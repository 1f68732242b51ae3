"""Instances on their way out as Part 10 files, with file meta information of Gantry's own (PS3.10 7.1)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from services.api.dependencies import Archive
from services.api.dicomweb.streaming import Streamed
from services.common.model import Location
from services.common.part10 import file_meta
from services.common.ports import Buffer
from services.common.retrieval import Outgoing, open_instances

DICOM = "application/dicom"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFile:
    """A Part 10 file of `length` bytes; its media type names its true transfer syntax."""

    content_type: str
    length: int
    chunks: Iterable[Buffer]

    @classmethod
    def of(cls, outgoing: Outgoing) -> OutgoingFile:
        """The file that holds what is going out.

        Raises:
            GantryError: it cannot go out, for its own `error`.
        """
        if outgoing.error is not None:
            raise outgoing.error
        meta = file_meta(
            sop_class_uid=outgoing.location.sop_class_uid,
            sop_instance_uid=outgoing.location.key.sop_instance_uid,
            transfer_syntax_uid=outgoing.transfer_syntax_uid,
        )
        return cls(
            content_type=f"{DICOM}; transfer-syntax={outgoing.transfer_syntax_uid}",
            length=len(meta) + outgoing.length,
            chunks=_after(meta, outgoing.chunks),
        )


def single_file(archive: Archive, location: Location, syntaxes: Sequence[str]) -> Streamed:
    """One instance as the whole body of an answer.

    Raises:
        NotAcceptable: it cannot be given in any of `syntaxes`.
        BlobMissing: the store lacks it.
    """
    opened = open_instances([location], lambda _: syntaxes, archive.store, archive.converter)
    try:
        file = OutgoingFile.of(next(opened))
    except BaseException:
        opened.close()
        raise
    return Streamed(
        iter(file.chunks),
        close=opened.close,
        media_type=file.content_type,
        headers={"Content-Length": str(file.length)},
    )


def _after(meta: bytes, chunks: Iterable[Buffer]) -> Generator[Buffer, None, None]:
    yield meta
    yield from chunks
