"""C-FIND: what comes back, in which order, and how it ends."""

from __future__ import annotations

import pytest

from services.common.dimse.handlers import Response
from services.common.dimse.messages import Command, CommandField
from services.common.dimse.negotiation import AcceptedContext
from services.common.errors import InvalidQuery
from services.common.model import Level
from services.common.query import Match
from services.qr.handlers import FindHandler
from tests.fakes.scripted_catalog import ScriptedCatalog
from tests.unit.qr.encoded import EXPLICIT, decode, identifier

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MATCHES = [Match(values={"PatientID": f"P{n}"}) for n in range(5)]


def find(catalog: ScriptedCatalog, raw: bytes, stop_after: int = 99) -> list[Response]:
    answers: list[Response] = []
    handler = FindHandler(catalog, ae_title="GANTRY")
    for response in handler.find(
        None,  # type: ignore[arg-type]
        Command(command_field=CommandField.C_FIND_RQ, message_id=1),
        AcceptedContext(context_id=1, abstract_syntax=STUDY_ROOT_FIND, transfer_syntax=EXPLICIT),
        raw,
        lambda: len(answers) >= stop_after,
    ):
        answers.append(response)
    return answers


def test_each_match_is_a_pending_response() -> None:
    catalog = ScriptedCatalog(MATCHES)
    answers = find(catalog, identifier(QueryRetrieveLevel="STUDY", PatientID="*"))
    assert [answer.status for answer in answers] == [0xFF00] * 5
    assert [decode(answer.identifier or b"").PatientID for answer in answers] == [f"P{n}" for n in range(5)]
    (query,) = catalog.queries
    assert (query.level, query.conditions, query.headers) == (Level.STUDY, (), False)


def test_an_unsupported_key_to_match_is_told_by_the_status() -> None:
    answers = find(
        ScriptedCatalog(MATCHES), identifier(QueryRetrieveLevel="STUDY", Manufacturer="A", PatientID="")
    )
    assert {answer.status for answer in answers} == {0xFF01}


def test_no_match_is_no_response() -> None:
    assert find(ScriptedCatalog(), identifier(QueryRetrieveLevel="STUDY", PatientID="P9")) == []


def test_a_cancel_ends_the_answers_and_the_search() -> None:
    catalog = ScriptedCatalog(MATCHES)
    assert len(find(catalog, identifier(QueryRetrieveLevel="STUDY", PatientID=""), stop_after=2)) == 2
    assert catalog.closed


def test_a_level_outside_the_model_is_refused_before_anything_is_asked() -> None:
    catalog = ScriptedCatalog(MATCHES)
    with pytest.raises(InvalidQuery):
        find(catalog, identifier(QueryRetrieveLevel="PATIENT", PatientID="P1"))
    assert catalog.queries == []
