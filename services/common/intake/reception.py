"""One instance on its way in: to the store, through the header scanner and under two digests, as it comes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.common.errors import InvalidInstance, Unavailable
from services.common.intake import refusals
from services.common.intake.checks import Announcement, identify, without_padding
from services.common.intake.notes import to_metadata
from services.common.keys import received_at
from services.common.model import Digests, Source, StoredInstance
from services.common.part10 import HeaderScanner, file_meta
from services.common.ports import BlobStore, BlobWriter, Buffer, Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long an upload may take, in seconds, and how many bytes of a refused one are kept."""

    longest_put_seconds: float = 7200.0
    quarantine_bytes: int = 256 * 2**20


class Reception:
    """Takes one data set in pieces; `Intake.begin` makes it, and `finish` or `abort` ends it.

    What makes the instance invalid is kept until `finish`, so that the quarantine gets all that was sent.
    """

    def __init__(
        self,
        *,
        key: str,
        store: BlobStore,
        source: Source,
        announced: Announcement,
        quarantine: Quarantine | None,
        offer: Callable[[StoredInstance], None],
        clock: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        """Begin the blob at `key` with preamble and file meta information; without `quarantine` what is
        refused is not kept.

        Raises:
            Unavailable: the object store does not answer.
        """
        self._key = key
        self._source = source
        self._announced = announced
        self._quarantine = quarantine
        self._offer = offer
        self._clock = clock
        self._limits = limits
        self._ends_at = time.monotonic() + limits.longest_put_seconds
        self._refusal: InvalidInstance | None = None
        self._data_set_digest = hashlib.sha256()
        self._file_digest = hashlib.sha256()
        self._scanner = HeaderScanner(announced.transfer_syntax_uid, whole=True)
        meta = file_meta(
            sop_class_uid=_writable(announced.sop_class_uid),
            sop_instance_uid=_writable(announced.sop_instance_uid),
            transfer_syntax_uid=announced.transfer_syntax_uid,
            source_aet=source.calling_aet,
            sending_aet=source.calling_aet,
            receiving_aet=source.called_aet,
        )
        self._data_set_offset = len(meta)
        self._size = 0
        self._over = False
        self._writer: BlobWriter | None = store.create(key)
        self._store(meta)

    def write(self, data: Buffer) -> None:
        """Take the next bytes of the data set; the caller may reuse the buffer.

        Raises:
            Unavailable: the object store does not answer, or the upload takes too long; it is over then.
        """
        self._data_set_digest.update(data)
        if self._refusal is None:
            try:
                self._scanner.feed(data)
            except InvalidInstance as refusal:
                self._refusal = refusal
        self._store(data)

    def finish(self) -> StoredInstance:
        """Make the instance durable once its last byte was written, and offer it to the publisher.

        Raises:
            InvalidInstance: it cannot be stored; what was received is in the quarantine.
            Unavailable: the object store does not answer; nothing was stored.
        """
        try:
            stored = self._commit()
        except InvalidInstance as refusal:
            self._hold(refusal)
            raise
        finally:
            self.abort()
        self._offer(stored)
        return stored

    def abort(self) -> None:
        """Forget what came and leave nothing behind; harmless after the end."""
        self._over = True
        self._drop()

    def _store(self, data: Buffer) -> None:
        self._file_digest.update(data)
        self._size += len(data)
        if self._refusal is not None and self._size > self._limits.quarantine_bytes:
            self._drop()
        try:
            self._check_open()
            if self._writer is not None:
                self._writer.write(data)
        except Unavailable:
            self.abort()
            raise

    def _check_open(self) -> None:
        if self._over:
            raise Unavailable("the upload is over")
        if time.monotonic() > self._ends_at:
            raise Unavailable("the upload has taken longer than is permitted")

    def _commit(self) -> StoredInstance:
        self._check_open()
        if self._refusal is not None or self._writer is None:
            raise self._refusal or Unavailable("the upload is over")
        header = self._scanner.finish()
        key = identify(self._scanner.text, self._announced)
        digests = Digests(data_set=self._data_set_digest.hexdigest(), file=self._file_digest.hexdigest())
        received = received_at(self._key)
        metadata = to_metadata(
            digests=digests, data_set_offset=self._data_set_offset, received_at=received, source=self._source
        )
        return StoredInstance(
            key=key,
            sop_class_uid=without_padding(self._announced.sop_class_uid),
            transfer_syntax_uid=self._announced.transfer_syntax_uid,
            blob=self._writer.commit(metadata, sha256=digests.file),
            data_set_offset=self._data_set_offset,
            digests=digests,
            received_at=received,
            source=self._source,
            header=header,
        )

    def _hold(self, refusal: InvalidInstance) -> None:
        if self._quarantine is None:
            return
        fits = self._size <= self._limits.quarantine_bytes
        refusals.hold(
            refusal,
            self._writer if fits else None,
            size=self._size,
            source=self._source,
            announced=self._announced,
            digest=self._data_set_digest.hexdigest(),
            held_at=self._clock(),
            quarantine=self._quarantine,
        )

    def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()


def _writable(uid: str) -> str:
    """What an announced UID looks like in file meta, be it never so invalid: it is refused at the end."""
    return without_padding(uid).encode("ascii", "replace").decode("ascii")[:64]
