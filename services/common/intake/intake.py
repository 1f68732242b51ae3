"""Where every instance comes in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import BinaryIO, Protocol

from services.common.errors import InvalidInstance
from services.common.intake import refusals
from services.common.intake.announcements import read_announcement
from services.common.intake.checks import Announcement
from services.common.intake.reception import Limits, Reception
from services.common.keys import held_bytes_key, new_entry_id, new_key
from services.common.model import Source, StoredInstance
from services.common.ports import BlobStore, Quarantine

_CHUNK_BYTES = 256 * 1024


class Publisher(Protocol):
    """Who tells the other services what was stored."""

    def offer(self, stored: StoredInstance) -> None:
        """Take note of it; never waits and never raises: the sweeper restores what gets lost."""


class Intake:
    """Accepts instances: durable in the store first, published after, refused ones to the quarantine."""

    def __init__(
        self,
        store: BlobStore,
        publisher: Publisher,
        quarantine: Quarantine,
        *,
        limits: Limits | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._quarantine = quarantine
        self._limits = limits or Limits()
        self._clock = clock

    def begin(
        self, *, source: Source, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str
    ) -> Reception:
        """Begin one instance, of which the sender has announced so much.

        Raises:
            Unavailable: the object store does not answer.
        """
        announced = Announcement(
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
        )
        return self._receive(source, announced)

    def accept_file(
        self, stream: BinaryIO, source: Source, *, study_instance_uid: str = "", is_held: bool = False
    ) -> StoredInstance:
        """Accept a file from a seekable stream; its data set is stored verbatim.

        One of another study than `study_instance_uid`, where that is given, is refused.

        Raises:
            InvalidInstance: it is no such file or cannot be stored; its bytes are in the quarantine, where
                they came from if it `is_held` already.
            Unavailable: the object store does not answer; nothing was stored.
        """
        start = stream.tell()
        try:
            announced = replace(read_announcement(stream), study_instance_uid=study_instance_uid)
        except InvalidInstance as refusal:
            if not is_held:
                stream.seek(start)
                self._hold_file(stream, source, refusal)
            raise
        reception = self._receive(source, announced, holds=not is_held)
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                reception.write(chunk)
            return reception.finish()
        finally:
            reception.abort()

    def _receive(self, source: Source, announced: Announcement, *, holds: bool = True) -> Reception:
        return Reception(
            key=new_key(self._clock()),
            store=self._store,
            source=source,
            announced=announced,
            quarantine=self._quarantine if holds else None,
            offer=self._publisher.offer,
            clock=self._clock,
            limits=self._limits,
        )

    def _hold_file(self, stream: BinaryIO, source: Source, refusal: InvalidInstance) -> None:
        """Keep a file that cannot be read as one of an instance."""
        now = self._clock()
        writer = self._store.create(held_bytes_key(new_entry_id(now)))
        size, digest = 0, hashlib.sha256()
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                digest.update(chunk)
                if size <= self._limits.quarantine_bytes:
                    writer.write(chunk)
            refusals.hold(
                refusal,
                writer if size <= self._limits.quarantine_bytes else None,
                size=size,
                source=source,
                announced=None,
                digest=digest.hexdigest(),
                held_at=now,
                quarantine=self._quarantine,
            )
        finally:
            writer.abort()
