"""DICOM values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.api.admin import wording


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Mary^Dr^Jr", "Doe, Dr Jane Mary Jr"),
        ("Doe", "Doe"),
        ("^Jane", "Jane"),
        ("", ""),
        ("^^^^", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎, やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("One^A\\Two^B", "One, A"),
        ("a^b^c^d^e^f^g", "a, d b c e"),
    ],
)
def test_person(name: str, shown: str) -> None:
    assert wording.person(name) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("20240131", "2024-01-31"), ("2024.01.31", "2024-01-31"), ("not a date", "not a date"), ("", "")],
)
def test_day(value: str, shown: str) -> None:
    assert wording.day(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("103015.123", "10:30"), ("1030", "10:30"), ("10:30:15", "10:30"), ("10", "10"), ("", "")],
)
def test_clock(value: str, shown: str) -> None:
    assert wording.clock(value) == shown


def test_moments_are_told_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    assert wording.moment(moment) == "2026-01-02 01:04:05 UTC"
    assert datetime.fromisoformat(wording.iso(moment)) == moment.replace(microsecond=0).astimezone(UTC)


def test_tags_and_uids_have_names() -> None:
    assert wording.tag_name(0x0020000D) == "(0020,000D) StudyInstanceUID"
    assert wording.tag_name(0x00091001) == "(0009,1001)"
    assert wording.tag_name(None) == ""
    assert wording.uid_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert wording.uid_name("1.2.3") == "1.2.3"


def test_counts_have_their_noun() -> None:
    assert wording.count_of(1, "image") == "1 image"
    assert wording.count_of(1200, "image") == "1,200 images"
    assert wording.count_of(2, "study", "studies") == "2 studies"
