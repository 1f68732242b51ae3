"""Keys tell the time, sort by it, and hold nothing that came from outside."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from services.common import keys
from services.common.keys import Area

WHEN = datetime(2026, 11, 22, 14, 59, 59, 999_400, tzinfo=UTC)


def test_a_key_has_the_folders_of_its_hour_and_a_uuid_of_version_7() -> None:
    key = keys.new_key(WHEN)
    assert re.fullmatch(r"originals/2026/11/22/14/[0-9a-f]{32}\.dcm", key)
    ordinal = keys.ordinal(key)
    assert (ordinal.version, ordinal.variant) == (7, uuid.RFC_4122)
    assert ordinal.hex in key
    assert keys.is_timed(key)


def test_a_key_tells_its_time_to_the_millisecond() -> None:
    key = keys.new_key(datetime(2020, 1, 1, 0, 0, 0, 123_999, tzinfo=UTC))
    assert keys.received_at(key) == datetime(2020, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)


def test_the_time_may_be_told_in_any_zone() -> None:
    zone = timezone(timedelta(hours=-5))
    key = keys.new_key(datetime(2030, 12, 31, 22, 0, tzinfo=zone))
    assert key.startswith("originals/2031/01/01/03/")


def test_keys_grow_within_a_millisecond_as_text_and_as_ordinals() -> None:
    made = [keys.new_key(WHEN + timedelta(days=40)) for _ in range(2000)]
    assert made == sorted(set(made))
    ordinals = [keys.ordinal(key) for key in made]
    assert ordinals == sorted(ordinals)


def test_keys_of_threads_that_race_past_an_hour_still_grow() -> None:
    later = datetime(2033, 1, 1, 0, 0, 0, 3000, tzinfo=UTC)
    first = keys.new_key(later)
    second = keys.new_key(later - timedelta(milliseconds=20))
    assert second > first
    assert keys.ordinal(second) > keys.ordinal(first)
    assert second.startswith(f"originals/{keys.received_at(second):%Y/%m/%d/%H}/")


def test_a_clock_that_was_set_back_is_followed() -> None:
    keys.new_key(datetime(2090, 1, 1, tzinfo=UTC))
    assert keys.received_at(keys.new_key(WHEN)).year == 2026


def test_text_order_is_ordinal_order_over_years() -> None:
    start = datetime(1999, 12, 31, 23, 59, 59, 990_000, tzinfo=UTC)
    made = [keys.new_key(start + timedelta(hours=hours * 7)) for hours in range(3000)]
    assert made == sorted(made) == sorted(made, key=keys.ordinal)


def test_threads_never_make_the_same_key() -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(keys.new_key(WHEN) for _ in range(500))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4000


_FORKS = """
import os
from datetime import UTC, datetime
from services.common import keys
when = datetime(2026, 11, 22, 14, 3, tzinfo=UTC)
keys.new_key(when)
for _ in range(4):
    child = os.fork()
    if child == 0:
        print(*[keys.new_key(when) for _ in range(50)], sep="\\n", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_forked_children_make_keys_of_their_own() -> None:
    # A process of its own forks: this one has threads of the tests' libraries, whose locks a fork may break.
    forking = [sys.executable, "-c", _FORKS]
    root = Path(__file__).parents[3]
    made = subprocess.run(forking, check=True, capture_output=True, text=True, cwd=root).stdout.split()
    assert len(made) == len(set(made)) == 200


@pytest.mark.parametrize(
    "key",
    ["originals/a.dcm", "originals/2026/11/22/14/" + "0" * 32 + ".dcm", "", "originals/2026/11/22/14/x.dcm"],
)
def test_a_key_without_a_time_is_told_apart(key: str) -> None:
    assert not keys.is_timed(key)
    with pytest.raises(ValueError, match="no time-ordered key"):
        keys.ordinal(key)


def test_prefixes_and_bounds_part_the_keys_by_time() -> None:
    early = keys.new_key(WHEN - timedelta(milliseconds=1))
    at = keys.new_key(WHEN + timedelta(seconds=5))
    bound = keys.before(WHEN + timedelta(seconds=5))
    assert early < bound < at
    assert early.startswith(keys.hour_prefix(WHEN))
    assert at.startswith(keys.day_prefix(date(2026, 11, 22)))
    assert list(keys.day_prefixes(date(2026, 2, 27), date(2026, 3, 1))) == [
        "originals/2026/02/27/", "originals/2026/02/28/", "originals/2026/03/01/",
    ]  # fmt: skip


def test_other_areas_have_keys_alike() -> None:
    key = keys.timed_key(Area.JOURNAL, WHEN, ".json")
    assert re.fullmatch(r"journal/2026/11/22/1[45]/[0-9a-f]{32}\.json", key)
    assert keys.is_timed(key)


def test_entries_of_the_quarantine_are_named_by_time() -> None:
    first = keys.new_entry_id(WHEN)
    second = keys.new_entry_id(WHEN)
    assert first < second
    assert keys.is_entry_id(first)
    assert not keys.is_entry_id("../" + first[3:])
    assert keys.entry_key(first) == f"quarantine/{first}.json"
    assert keys.held_bytes_key(first) == f"quarantine/{first}.bin"
