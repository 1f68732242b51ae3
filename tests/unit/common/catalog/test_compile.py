"""Queries as SQL: every value is a parameter, every identifier one of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from services.common.attributes import ATTRIBUTES, BY_KEYWORD, Attribute, Matching
from services.common.catalog import compile
from services.common.catalog.compile import Statement
from services.common.catalog.conditions import condition_sql, like
from services.common.matching import condition
from services.common.model import Level
from services.common.query import (
    AnyOf,
    Between,
    Condition,
    Equals,
    Like,
    NameLike,
    OneOf,
    Query,
    Selection,
)

HOSTILE = "x'; DROP TABLE study; -- %s \\"


def every_condition(attribute: Attribute) -> Iterator[Condition]:
    """Every kind of condition that the attribute can have, with values that no SQL may hold."""
    match attribute.matching:
        case Matching.COUNT:
            return
        case Matching.NUMBER:
            yield Equals(attribute=attribute, value="90210")
            yield OneOf(attribute=attribute, values=("90210", "90211"))
        case Matching.NAME:
            for pattern in (HOSTILE, f"*{HOSTILE}*", "a*", "ab?*c", f"=*{HOSTILE}=", "doe^*^*"):
                yield NameLike(attribute=attribute, pattern=pattern)
            yield NameLike(attribute=attribute, pattern="two words", words=True)
        case Matching.DATE | Matching.TIME:
            yield Equals(attribute=attribute, value=HOSTILE)
            yield Between(attribute=attribute, low=HOSTILE, high="")
            yield Between(attribute=attribute, low="", high=HOSTILE)
            yield Between(attribute=attribute, low=HOSTILE, high=HOSTILE)
        case _:
            equals, pattern = (
                Equals(attribute=attribute, value=HOSTILE),
                Like(attribute=attribute, pattern=f"*{HOSTILE}?"),
            )
            yield equals
            yield pattern
            yield OneOf(attribute=attribute, values=(HOSTILE, "b"))
            yield AnyOf(attribute=attribute, alternatives=(equals, pattern))


CONDITIONS = [c for attribute in ATTRIBUTES for c in every_condition(attribute)]


def check(statement: Statement) -> None:
    """As many places as parameters, and nothing of a value in the text."""
    assert statement.sql.count("%s") == statement.sql.count("%") == len(statement.parameters)
    assert not re.search(r"DROP|90210|words", statement.sql)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("newest_first", [False, True])
def test_every_condition_at_every_level_is_parameters(level: Level, newest_first: bool) -> None:
    query = Query(
        level=level,
        conditions=tuple(CONDITIONS),
        headers=True,
        patient_counts=True,
        newest_first=newest_first,
    )
    check(compile.count(query))
    first = compile.page(query, after=None, size=10)
    check(first.statement)
    check(compile.page(query, after=tuple(range(first.keys)), size=10).statement)
    for condition_ in CONDITIONS:
        check(compile.count(Query(level=level, conditions=(condition_,))))


@pytest.mark.parametrize("headers", [False, True])
def test_selections_are_parameters(headers: bool) -> None:
    selection = Selection(conditions=tuple(CONDITIONS), headers=headers)
    page = compile.location_page(selection, after=None, size=10)
    check(page.statement)
    check(compile.location_page(selection, after=tuple(range(page.keys)), size=10).statement)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("a*", "a%"), ("a?b", "a_b"), ("100%", "100\\%"), ("a_b*", "a\\_b%"), ("a\\b", "a\\\\b"), ("", "")],
)
def test_like(pattern: str, expected: str) -> None:
    assert like(pattern) == expected


@pytest.mark.parametrize("level", list(Level))
def test_what_has_no_live_instance_is_never_shown(level: Level) -> None:
    sql = compile.count(Query(level=level)).sql
    assert "s.number_of_instances > 0" in sql
    assert ("r.number_of_instances > 0" in sql) == (level >= Level.SERIES)
    assert ("i.deleted_at IS NULL" in sql) == (level >= Level.IMAGE)


def test_a_study_carries_its_own_copy_of_its_patient() -> None:
    asked = condition(BY_KEYWORD["PatientID"], "P1")
    assert asked is not None
    for level in Level:
        sql = compile.count(Query(level=level, conditions=(asked,))).sql
        assert ("p.patient_id = %s" in sql) == (level is Level.PATIENT)
        assert ("s.patient_id = %s" in sql) == (level is not Level.PATIENT)


def test_conditions_below_speak_of_one_entity() -> None:
    asked = tuple(
        c
        for keyword, key in (("Modality", "CT"), ("BodyPartExamined", "HEAD"), ("InstanceNumber", "1"))
        if (c := condition(BY_KEYWORD[keyword], key))
    )
    sql = compile.count(Query(level=Level.STUDY, conditions=asked)).sql
    assert sql.count("EXISTS") == 1


@pytest.mark.parametrize(
    ("pattern", "parameters"),
    [
        ("doe*", ["doe%", ["=do", "doe"], ["doe%"]]),
        ("*ande*", [["and", "nde"], ["%ande%"]]),
        ("d*", ["%d%", ["d%"]]),
        ("?oe*", [["_oe%"]]),
        ("doe^*", ["doe%", ["=do", "doe"], ["doe^%", "doe"]]),
    ],
)
def test_names_are_found_by_an_index_and_then_exactly(pattern: str, parameters: list[object]) -> None:
    found: list[object] = []
    condition_sql(NameLike(attribute=BY_KEYWORD["PatientName"], pattern=pattern), "s", found)
    assert found == parameters


def test_numbers_compare_as_numbers() -> None:
    found: list[object] = []
    number = BY_KEYWORD["SeriesNumber"]
    assert condition_sql(Equals(attribute=number, value="7"), "r", found) == "r.series_order = %s"
    assert found == [7]


def test_long_identities_are_asked_for_as_they_are_stored() -> None:
    found: list[object] = []
    condition_sql(Equals(attribute=BY_KEYWORD["PatientID"], value="x" * 300), "s", found)
    assert isinstance(found[0], str)
    assert len(found[0]) == 256
