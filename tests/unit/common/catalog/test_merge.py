"""Which value and which bytes win: whatever the order, and however often."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.common.catalog.merge import NOTHING, Merged, Original, history, merge
from services.common.keys import ordinal
from services.common.model import BlobRef, Digests
from tests.fakes.made_records import key

_KEYWORDS = ("PatientName", "StudyDate", "StudyID")
_values = st.dictionaries(st.sampled_from(_KEYWORDS), st.sampled_from("abc"))
_said = st.dictionaries(st.integers(1, 30), _values, max_size=8).map(
    lambda said: [Merged.of(uuid.UUID(int=number), values) for number, values in said.items()]
)


@given(_said, st.data())
def test_order_repetition_and_grouping_do_not_matter(said: list[Merged], data: st.DataObject) -> None:
    whole = merge(said)
    shuffled = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said))) if said else said))
    cut = data.draw(st.integers(0, len(shuffled)))
    assert merge(shuffled) == whole
    assert merge([merge(shuffled[:cut]), merge(shuffled[cut:]), whole]) == whole


@given(_said)
def test_each_value_is_that_of_the_greatest_ordinal_that_has_one(said: list[Merged]) -> None:
    whole = merge(said)
    for keyword in _KEYWORDS:
        having = [(part.sources[keyword], part.values[keyword]) for part in said if keyword in part.values]
        if having:
            assert (whole.sources[keyword], whole.values[keyword]) == max(having)
        else:
            assert keyword not in whole.values


@given(_said)
def test_a_row_comes_back_from_its_columns_as_it_was(said: list[Merged]) -> None:
    whole = merge(said)
    source, older = whole.stored_sources()
    assert Merged.loaded(whole.values, str(source), older) == whole


def test_the_source_of_most_values_is_the_rows() -> None:
    early, late = uuid.UUID(int=1), uuid.UUID(int=2)
    row = merge([Merged.of(early, {"a": "1", "b": "1"}), Merged.of(late, {"c": "2"})])
    assert row.stored_sources() == (early, {"c": str(late)})
    tie = merge([Merged.of(early, {"a": "1"}), Merged.of(late, {"c": "2"})])
    assert tie.stored_sources() == (late, {"a": str(early)})
    assert merge([]).stored_sources() == (NOTHING, None)


def test_only_a_part_keeps_its_sources() -> None:
    row = Merged.of(uuid.UUID(int=1), {"a": "1", "b": "2"})
    assert row.only({"a", "z"}) == Merged.of(uuid.UUID(int=1), {"a": "1"})


def _original(moment: int, content: str, syntax: str = "x") -> Original:
    return Original(
        blob=BlobRef(bucket="b", key=key(moment), offset=0, length=1),
        data_set_offset=0,
        transfer_syntax_uid=syntax,
        digests=Digests(data_set=content, file=""),
        received_at=datetime(2026, 11, 22, tzinfo=UTC),
        route="dimse",
        calling_aet="A",
        called_aet="B",
    )


_originals = st.dictionaries(st.integers(1, 30), st.sampled_from("abc"), min_size=1, max_size=8).map(
    lambda came: [_original(moment, content) for moment, content in came.items()]
)


@given(_originals, st.data())
def test_what_came_last_is_served_from_its_first_blob(came: list[Original], data: st.DataObject) -> None:
    past = history(data.draw(st.permutations(came + data.draw(st.lists(st.sampled_from(came))))))
    last = max(came, key=lambda original: original.ordinal)
    same = [original for original in came if original.content == last.content]
    assert past.latest == last.ordinal
    assert past.served == min(same, key=lambda original: original.blob.key)
    assert {original.blob.key for original in past.others} == {o.blob.key for o in came} - {
        past.served.blob.key
    }


@given(_originals, st.data())
def test_a_history_that_grows_is_that_of_all_at_once(came: list[Original], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(came)))
    grown = history(came[:cut])
    for original in came[cut:]:
        grown = history([original], serving=grown)
    assert grown == history(came)


def test_bytes_whose_last_blob_was_swept_away_are_still_the_last() -> None:
    swept = replace(history([_original(1, "a"), _original(5, "a")]), others=())
    past = history([_original(3, "b")], serving=swept)
    assert (past.served, past.latest) == (_original(1, "a"), ordinal(key(5)))
    assert past.others == (_original(3, "b"),)
    assert history([_original(6, "b")], serving=swept).served == _original(6, "b")


def test_one_digest_in_two_transfer_syntaxes_is_two_contents() -> None:
    past = history([_original(1, "a", "90"), _original(2, "a", "91")])
    assert past.served.ordinal == ordinal(key(2))
    assert len(past.others) == 1
