"""The journal keeps every decision, in order and for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.common.errors import Unavailable
from services.common.journal import MalformedEntry, StoreJournal
from services.common.keys import is_timed, received_at
from tests.fakes.memory_store import MemoryStore

WHEN = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_entries_come_back_in_the_order_in_which_they_were_written() -> None:
    store = MemoryStore()
    now = WHEN
    journal = StoreJournal(store, clock=lambda: now)
    written = []
    for number in range(20):
        now = WHEN + timedelta(milliseconds=number // 5)
        written.append(journal.append("deleted", {"study_instance_uid": f"1.2.{number}", "who": "Müller"}))
    entries = list(journal.entries())
    assert [key for key, _, _ in entries] == written == sorted(written)
    assert [content["study_instance_uid"] for _, _, content in entries] == [f"1.2.{n}" for n in range(20)]
    assert {kind for _, kind, _ in entries} == {"deleted"}
    assert entries[0][2]["who"] == "Müller"


def test_a_key_lies_in_its_hour_and_tells_its_time() -> None:
    key = StoreJournal(MemoryStore(), clock=lambda: WHEN).append("moved", {})
    assert key.startswith("journal/2026/12/31/23/")
    assert is_timed(key)
    assert abs(received_at(key) - WHEN) < timedelta(seconds=1)


def test_a_replay_goes_on_where_it_stopped() -> None:
    journal = StoreJournal(MemoryStore())
    keys = [journal.append("merged", {"n": str(number)}) for number in range(5)]
    assert [key for key, _, _ in journal.entries(after=keys[2])] == keys[3:]


def test_more_entries_than_a_page_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    journal = StoreJournal(store)
    listed = store.list
    monkeypatch.setattr(store, "list", lambda prefix, after="": listed(prefix, after=after, limit=3))
    keys = [journal.append("merged", {}) for _ in range(10)]
    assert [key for key, _, _ in journal.entries()] == keys


def test_an_entry_that_cannot_be_read_stops_the_replay() -> None:
    store = MemoryStore()
    journal = StoreJournal(store)
    key = journal.append("merged", {})
    store.objects[key] = (b"{", {})
    with pytest.raises(MalformedEntry, match=key):
        list(journal.entries())


def test_an_entry_that_is_not_durable_is_an_error() -> None:
    store = MemoryStore()
    store.down = True
    with pytest.raises(Unavailable):
        StoreJournal(store).append("merged", {})
