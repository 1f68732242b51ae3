"""Every file of the corpus comes in whole or is refused with a reason, on a real folder."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from services.common.adapters.files import FolderStore
from services.common.errors import InvalidInstance
from services.common.intake import Intake, recover
from services.common.model import BlobRef, Route, Source
from services.common.part10 import read_file_meta
from services.common.quarantine import StoreQuarantine
from tests.fakes.publisher import RememberingPublisher

SOURCE = Source(route=Route.IMPORT, calling_aet="", called_aet="GANTRY", default_issuer="CORPUS")


def content_of(store: FolderStore, ref: BlobRef) -> bytes:
    with store.open(ref) as stream:
        return stream.readall()


def digest_of(content: bytes) -> str:
    """Of the data set; of all bytes where none can be told in them."""
    try:
        start = read_file_meta(io.BytesIO(content)).data_set_offset
    except InvalidInstance:
        start = 0
    return hashlib.sha256(content[start:]).hexdigest()


def test_every_file_is_stored_to_the_byte_or_refused_to_the_byte(
    corpus_files: list[Path], tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "blobs")
    publisher = RememberingPublisher()
    quarantine = StoreQuarantine(store)
    intake = Intake(store, publisher, quarantine)
    refused: set[tuple[str, str]] = set()
    taken = 0
    for path in corpus_files:
        content = path.read_bytes()
        try:
            stored = intake.accept_file(io.BytesIO(content), SOURCE)
        except InvalidInstance as refusal:
            refused.add((digest_of(content), str(refusal)))
            continue
        taken += 1
        data_set = content[read_file_meta(io.BytesIO(content)).data_set_offset :]
        assert content_of(store, stored.data_set) == data_set, path
        assert recover(store, store.stat(stored.blob.key)) == stored, path
    entries = quarantine.entries(limit=len(corpus_files))
    assert {(entry.digest, entry.reason) for entry in entries} == refused
    assert len(entries) == len(refused), "the same bytes are kept once"
    assert len(publisher.offered) == taken > len(corpus_files) // 2
    for entry in entries:
        assert entry.blob is not None
        held = content_of(store, entry.blob)
        with pytest.raises(InvalidInstance) as again:
            intake.accept_file(io.BytesIO(held), SOURCE)
        assert str(again.value) == entry.reason
