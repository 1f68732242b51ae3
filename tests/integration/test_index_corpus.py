"""Every instance of the corpus that was stored is indexed, whatever stands in it."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

from services.common.adapters.files import FolderStore
from services.common.adapters.postgres import Postgres
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.errors import InvalidInstance
from services.common.events import InstancesStored, from_json, to_json
from services.common.intake import Intake
from services.common.model import Route, Source, StoredInstance
from services.common.quarantine import StoreQuarantine
from services.index.extract import extract
from services.index.handler import index_instances, with_whole_header
from tests.catalog_dump import disagreements, dump
from tests.fakes.publisher import RememberingPublisher

_SOURCE = Source(route=Route.IMPORT, calling_aet="", called_aet="GANTRY", default_issuer="CORPUS")


def _stored(paths: Sequence[Path], store: FolderStore) -> list[StoredInstance]:
    intake = Intake(store, RememberingPublisher(), StoreQuarantine(store))
    stored = []
    for path in paths:
        try:
            stored.append(intake.accept_file(io.BytesIO(path.read_bytes()), _SOURCE))
        except InvalidInstance:
            continue
    return stored


def _index(stored: Sequence[StoredInstance], catalog: Postgres, store: FolderStore, size: int) -> None:
    writer = PostgresCatalogWriter(catalog)
    for start in range(0, len(stored), size):
        event = from_json(to_json(InstancesStored(instances=tuple(stored[start : start + size]))))
        assert isinstance(event, InstancesStored)
        index_instances(event, writer, store)


def test_every_stored_file_is_indexed_in_any_order(
    corpus_files: list[Path], tmp_path: Path, catalog: Postgres
) -> None:
    store = FolderStore(tmp_path / "blobs")
    stored = _stored(corpus_files, store)
    assert len(stored) > len(corpus_files) // 2
    _index(stored, catalog, store, size=100)
    assert PostgresCatalogWriter(catalog).missing(its.blob.key for its in stored) == set()
    assert disagreements(catalog) == []
    in_order = dump(catalog)
    with catalog.transaction() as cur:
        cur.execute("TRUNCATE patient, study, series, instance, other_original, rendition")
    shuffled = random.Random(7).sample(stored, len(stored))
    _index(shuffled + shuffled[:100], catalog, store, size=37)
    assert dump(catalog) == in_order


def test_the_header_that_is_kept_is_the_whole_one(
    corpus_files: list[Path], tmp_path: Path, catalog: Postgres
) -> None:
    store = FolderStore(tmp_path / "blobs")
    by_key = {its.blob.key: its for its in _stored(corpus_files, store)}
    _index(list(by_key.values()), catalog, store, size=100)
    kept = {row["key"]: row for row in dump(catalog)["instance"]}
    assert len(kept) > len(by_key) // 2
    for key, row in kept.items():
        whole = with_whole_header(by_key[key], store)
        assert row["header"] == whole.header.content.hex()
        assert row["header_covers"] == by_key[key].data_set.length
        assert (row["instance_number"] or "") == extract(whole).values.get("InstanceNumber", "")
