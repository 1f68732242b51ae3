"""What every quarantine keeps: the fake, and the one in an object store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.adapters.files import FolderStore
from services.common.adapters.s3 import S3Store
from services.common.errors import BlobMissing, NotFound, Unavailable
from services.common.keys import entry_key, held_bytes_key, new_entry_id
from services.common.model import BlobRef, QuarantineEntry
from services.common.ports import BlobStore, Quarantine
from services.common.quarantine import StoreQuarantine
from tests.contract.test_blob_store_contract import put
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore

WHEN = datetime(2026, 11, 22, 14, 0, 0, 123_000, tzinfo=UTC)


@pytest.fixture(params=["memory", "store-memory", "store-folder", "store-s3"])
def quarantine(request: pytest.FixtureRequest, tmp_path: Path) -> Quarantine:
    match request.param:
        case "memory":
            return MemoryQuarantine()
        case "store-memory":
            return StoreQuarantine(MemoryStore())
        case "store-folder":
            return StoreQuarantine(FolderStore(tmp_path))
        case _:
            s3 = S3Store(request.getfixturevalue("s3_settings"))
            s3.prepare(7200.0)
            return StoreQuarantine(s3)


def entry(number: int = 0, blob: BlobRef | None = None, digest: str = "") -> QuarantineEntry:
    when = WHEN + timedelta(minutes=number)
    return QuarantineEntry(
        entry_id=new_entry_id(when),
        kind="instance",
        reason=f"(0020,000D) Study Instance UID is missing «{number}»",
        payload='{"source": {"calling_aet": "CT"}}',
        held_at=when,
        tag=0x0020000D,
        blob=blob,
        digest=digest,
    )


def test_a_held_entry_comes_back_whole(quarantine: Quarantine) -> None:
    held = entry(blob=BlobRef(bucket="local", key="quarantine/a.bin", offset=3, length=5))
    quarantine.hold(held)
    assert quarantine.get(held.entry_id) == held
    assert list(quarantine.entries()) == [held]


def test_entries_come_in_order_and_by_pages(quarantine: Quarantine) -> None:
    held = [entry(number) for number in range(7)]
    for one in reversed(held):
        quarantine.hold(one)
    assert list(quarantine.entries()) == held
    assert list(quarantine.entries(limit=3)) == held[:3]
    assert list(quarantine.entries(after=held[2].entry_id, limit=3)) == held[3:6]
    assert list(quarantine.entries(after=held[6].entry_id)) == []


def test_a_released_entry_has_gone(quarantine: Quarantine) -> None:
    held = [entry(number) for number in range(2)]
    for one in held:
        quarantine.hold(one)
    quarantine.release(held[0].entry_id)
    quarantine.release(held[0].entry_id)
    assert list(quarantine.entries()) == held[1:]
    with pytest.raises(NotFound):
        quarantine.get(held[0].entry_id)


def test_what_holds_certain_bytes_is_found_by_their_digest(quarantine: Quarantine) -> None:
    one, other, later = entry(0, digest="ab" * 32), entry(1, digest="cd" * 32), entry(2, digest="ab" * 32)
    assert quarantine.holding("ab" * 32) is None
    for held in (one, other):
        quarantine.hold(held)
    assert (quarantine.holding("ab" * 32), quarantine.holding("cd" * 32)) == (one, other)
    quarantine.hold(later)
    quarantine.release(one.entry_id)
    assert quarantine.holding("ab" * 32) == later
    assert list(quarantine.entries()) == [other, later]
    quarantine.release(later.entry_id)
    assert quarantine.holding("ab" * 32) is None


@pytest.mark.parametrize("name", ["", "../config/nodes", "0" * 32, "x"])
def test_an_unknown_name_is_not_found(quarantine: Quarantine, name: str) -> None:
    with pytest.raises(NotFound):
        quarantine.get(name)
    quarantine.release(name)


def held_with_bytes(store: BlobStore) -> QuarantineEntry:
    entry_id = new_entry_id(WHEN)
    blob = put(store, held_bytes_key(entry_id), b"refused")
    held = QuarantineEntry(
        entry_id=entry_id, kind="instance", reason="r", payload="{}", held_at=WHEN, blob=blob
    )
    StoreQuarantine(store).hold(held)
    return held


def test_bytes_that_lie_beside_an_entry_are_no_entry_and_go_with_it() -> None:
    store = MemoryStore()
    held = held_with_bytes(store)
    quarantine = StoreQuarantine(store)
    assert list(quarantine.entries()) == [held]
    assert set(store.objects) == {entry_key(held.entry_id), held_bytes_key(held.entry_id)}
    quarantine.release(held.entry_id)
    assert not store.objects


def test_a_released_entry_leaves_no_note_of_its_digest() -> None:
    store = MemoryStore()
    quarantine = StoreQuarantine(store)
    held = entry(digest="ab" * 32)
    quarantine.hold(held)
    assert len(store.objects) == 2
    quarantine.release(held.entry_id)
    assert not store.objects


def test_an_original_that_an_entry_names_stays_after_its_release() -> None:
    store = MemoryStore()
    quarantine = StoreQuarantine(store)
    held = entry(blob=put(store, "originals/a.dcm", b"x"))
    quarantine.hold(held)
    quarantine.release(held.entry_id)
    assert set(store.objects) == {"originals/a.dcm"}


def test_an_entry_that_cannot_be_read_hides_no_other() -> None:
    store = MemoryStore()
    quarantine = StoreQuarantine(store)
    broken, sound = entry(0), entry(1)
    quarantine.hold(broken)
    quarantine.hold(sound)
    store.objects[entry_key(broken.entry_id)] = (b"{", {})
    assert list(quarantine.entries()) == [sound]
    with pytest.raises(NotFound):
        quarantine.get(broken.entry_id)


def test_an_entry_that_is_taken_out_during_the_listing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    quarantine = StoreQuarantine(store)
    gone, stays = entry(0), entry(1)
    quarantine.hold(gone)
    quarantine.hold(stays)
    opened = store.open

    def vanish(ref: BlobRef) -> object:
        if ref.key == entry_key(gone.entry_id):
            raise BlobMissing(ref.key)
        return opened(ref)

    monkeypatch.setattr(store, "open", vanish)
    assert list(quarantine.entries()) == [stays]


def test_an_entry_that_is_not_durable_is_an_error() -> None:
    store = MemoryStore()
    store.down = True
    with pytest.raises(Unavailable):
        StoreQuarantine(store).hold(entry())
