"""What the study list's form asks of the catalog."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from services.api.admin.search import PAGE_SIZE, Search
from services.common.attributes import BY_KEYWORD
from services.common.errors import InvalidQuery
from services.common.query import AnyOf, Between, Condition, Equals, Like, NameLike

NAME, ID = BY_KEYWORD["PatientName"], BY_KEYWORD["PatientID"]


def asked(**form: str) -> tuple[Condition, ...]:
    return Search(**form).query(1).conditions


def test_an_empty_form_asks_for_all_newest_first() -> None:
    query = Search().query(1)
    assert query.conditions == () and query.newest_first
    assert (query.limit, query.offset) == (PAGE_SIZE + 1, 0)
    assert Search().is_empty and not Search(accession="1").is_empty


@pytest.mark.parametrize(
    ("text", "by_name"),
    [
        ("Doe Jane", NameLike(attribute=NAME, pattern="doe jane", words=True)),
        ("doe, j", NameLike(attribute=NAME, pattern="doe j", words=True)),
        ("li", NameLike(attribute=NAME, pattern="li*")),
        ("*ane*", NameLike(attribute=NAME, pattern="*ane*")),
    ],
)
def test_a_patient_is_found_by_name_or_id(text: str, by_name: NameLike) -> None:
    (condition,) = asked(patient=f" {text} ")
    by_id = Like(attribute=ID, pattern=f"{text}*")
    assert condition == AnyOf(attribute=NAME, alternatives=(by_name, by_id))


def test_a_backslash_parts_no_values() -> None:
    (condition,) = asked(patient="doe\\jane")
    assert isinstance(condition, AnyOf) and len(condition.alternatives) == 2
    assert asked(patient="\\") == ()


def test_accession_modality_and_dates() -> None:
    assert asked(accession="A1") == (Like(attribute=BY_KEYWORD["AccessionNumber"], pattern="A1*"),)
    assert asked(modality="ct") == (Equals(attribute=BY_KEYWORD["ModalitiesInStudy"], value="CT"),)
    date = BY_KEYWORD["StudyDate"]
    assert asked(earliest="2024-01-31") == (Between(attribute=date, low="20240131", high=""),)
    assert asked(latest="2024-01-31") == (Between(attribute=date, low="", high="20240131"),)


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="StudyDate"):
        asked(earliest="2024-99-99")


def test_a_page_has_an_address() -> None:
    search = Search(patient="Müller & Söhne", modality="CT")
    assert search.query(3).offset == 2 * PAGE_SIZE
    assert parse_qs(search.address(3)) == {"patient": ["Müller & Söhne"], "modality": ["CT"], "page": ["3"]}
    assert Search().address(1) == ""
