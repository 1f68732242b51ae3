"""Every file of the corpus through `retrieval`: as it was stored, and uncompressed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.adapters.files import FolderStore
from services.common.errors import InvalidInstance
from services.common.intake import Intake
from services.common.model import Location, Route, Source, StoredInstance
from services.common.part10 import HeaderScanner
from services.common.pixels.converter import PoolConverter
from services.common.pixels.pool import CodecPool
from services.common.retrieval import (
    ANY,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    open_instances,
)
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.publisher import RememberingPublisher


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module")
def locations(store: FolderStore, corpus_files: list[Path]) -> list[Location]:
    """Every file that can be stored; of a large series of one kind, a few."""
    publisher = RememberingPublisher()
    intake = Intake(store, publisher, MemoryQuarantine())
    folders: dict[Path, int] = {}
    for path in corpus_files:
        folders[path.parent] = folders.get(path.parent, 0) + 1
        if path.parent.name.startswith("ct-phantom") and folders[path.parent] > 3:
            continue
        with path.open("rb") as stream:
            try:
                intake.accept_file(stream, Source(route=Route.IMPORT, calling_aet="T", called_aet="G"))
            except InvalidInstance:
                continue
    return [_location(stored) for stored in publisher.offered]


@pytest.fixture(scope="module")
def converter(store: FolderStore) -> Iterator[PoolConverter]:
    pool = CodecPool()
    yield PoolConverter(store, pool)
    pool.close()


def _location(stored: StoredInstance) -> Location:
    return Location(
        key=stored.key,
        sop_class_uid=stored.sop_class_uid,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        blob=stored.blob,
        data_set_offset=stored.data_set_offset,
        digests=stored.digests,
        header=stored.header,
    )


def test_what_was_stored_comes_back_to_the_byte(
    locations: list[Location], store: FolderStore, converter: PoolConverter
) -> None:
    for outgoing in open_instances(locations, lambda _: ANY, store, converter):
        assert outgoing.error is None
        assert outgoing.transfer_syntax_uid == outgoing.location.transfer_syntax_uid
        digest = hashlib.sha256()
        for chunk in outgoing.chunks:
            digest.update(chunk)
        assert digest.hexdigest() == outgoing.location.digests.data_set


@pytest.mark.parametrize("target", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_what_is_converted_can_be_read_again(
    locations: list[Location], store: FolderStore, converter: PoolConverter, target: str
) -> None:
    refused = 0
    for outgoing in open_instances(locations, lambda _: (target,), store, converter):
        if outgoing.error is not None:
            refused += 1
            continue
        scanner = HeaderScanner(target, limit=1 << 26)
        size = 0
        try:
            for chunk in outgoing.chunks:
                scanner.feed(chunk)
                size += len(chunk)
        except Exception as exc:
            raise AssertionError(f"{outgoing.location.key} as {target}") from exc
        assert size == outgoing.length
        assert scanner.finish().covers == size
    # Broken code streams, single bits across bytes, syntaxes without a codec.
    assert refused < len(locations) / 20
