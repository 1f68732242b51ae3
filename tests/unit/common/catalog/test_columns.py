"""What columns take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.attributes import BY_KEYWORD
from services.common.catalog import columns

_anything = st.text(st.characters(), max_size=60) | st.text(st.characters(), max_size=30).map(
    lambda t: t * 50
)


@given(_anything)
def test_any_text_fits(value: str) -> None:
    for made, limit in (
        (columns.text(value), columns.TEXT_BYTES),
        (columns.identity(value), columns.IDENTITY_BYTES),
    ):
        assert len(made.encode()) <= limit
        assert "\0" not in made


@given(_anything, _anything)
def test_identities_that_differ_stay_different(one: str, other: str) -> None:
    plain_one, plain_other = columns.text(one, limit=10**6), columns.text(other, limit=10**6)
    assert (columns.identity(one) == columns.identity(other)) == (plain_one == plain_other)


@given(_anything)
def test_what_fits_is_left_alone(value: str) -> None:
    fitted = columns.text(value)
    assert columns.text(fitted) == fitted
    if len(fitted.encode()) <= columns.IDENTITY_BYTES:
        assert columns.identity(fitted) == fitted


def test_a_broken_character_shows() -> None:
    assert columns.text("a\ud800b") == "a\ufffdb"


def test_a_name_is_also_kept_folded_and_in_trigrams() -> None:
    name = BY_KEYWORD["PatientName"]
    assert dict(columns.derived(name, "Müll^A")) == {
        "name_folded": "mull^a",
        "name_trigrams": ["l^a", "ll^", "mul", "ull"],
    }
    assert dict(columns.derived(name, None)) == {"name_folded": None, "name_trigrams": None}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12", 12),
        (" 012 ", 12),
        ("-3", -3),
        ("+3", 3),
        ("1.0", 1),
        ("1.5", None),
        ("", None),
        (None, None),
        ("one", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("١", None),
    ],
)
def test_a_number_is_also_kept_as_an_integer(value: str | None, number: int | None) -> None:
    assert dict(columns.derived(BY_KEYWORD["InstanceNumber"], value)) == {"instance_order": number}
