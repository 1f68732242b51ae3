"""Whose an instance is, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.catalog.arrivals import Family, StudyKey, arrivals
from services.common.errors import InvalidInstance
from tests.fakes.made_records import key, record


def study_of(issuer: str = "", patient_id: str = "", node: str = "") -> StudyKey:
    values = {"IssuerOfPatientID": issuer, "PatientID": patient_id}
    (arrival,) = arrivals([record(1, values=values, default_issuer=node)])
    return arrival.study


def test_the_issuer_that_is_stated_is_preferred_to_the_nodes() -> None:
    assert study_of("A", "1", node="B").issuer == "A"
    assert study_of(" ", "1", node="B").issuer == "B"


def test_without_an_id_no_issuer_counts_and_the_study_is_the_family() -> None:
    assert study_of("A", " ", node="B") == study_of()
    assert study_of().family == Family(issuer="", patient_id="", anonymous_study_uid="1.2")
    assert study_of("A", "1").family == Family(issuer="A", patient_id="1", anonymous_study_uid="")


def test_a_familys_lock_number_fits_a_bigint_and_differs() -> None:
    numbers = {study_of("A", str(number)).family.lock_number for number in range(1000)}
    assert len(numbers) == 1000
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    assert Family(issuer="a", patient_id="bc", anonymous_study_uid="").lock_number != (
        Family(issuer="ab", patient_id="c", anonymous_study_uid="").lock_number
    )


def test_originals_are_taken_in_order_and_once() -> None:
    its = arrivals([record(3), record(1), record(3), record(2)])
    assert [arrival.original.blob.key for arrival in its] == [key(1), key(2), key(3)]


def test_a_key_that_tells_no_time_is_refused() -> None:
    good = record(1)
    blob = replace(good.stored.blob, key="somewhere/else")
    with pytest.raises(InvalidInstance, match="time-ordered"):
        arrivals([replace(good, stored=replace(good.stored, blob=blob))])
