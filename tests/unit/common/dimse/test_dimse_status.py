"""Kind of error × service → status, as the standard has them."""

from __future__ import annotations

import pytest

from services.common.dimse.handlers import Response
from services.common.dimse.status import Service, answer_to
from services.common.errors import (
    BlobMissing,
    GantryError,
    InvalidInstance,
    InvalidQuery,
    NotAcceptable,
    NotFound,
    Unavailable,
    UnknownNode,
)


class StoreDown(Unavailable):
    """The object store is down."""


@pytest.mark.parametrize(
    ("error", "service", "status"),
    [
        pytest.param(InvalidInstance("x", tag=0x0020000D), Service.STORE, 0xA900, id="PS3.4 B.2.3 A9xx"),
        pytest.param(InvalidInstance("x"), Service.STORE, 0xC000, id="PS3.4 B.2.3 Cxxx"),
        pytest.param(Unavailable(), Service.STORE, 0xA700, id="PS3.4 B.2.3 A7xx"),
        pytest.param(StoreDown(), Service.STORE, 0xA700, id="a subclass"),
        pytest.param(NotAcceptable(), Service.STORE, 0x0122, id="PS3.7 C.5.23"),
        pytest.param(InvalidQuery("x"), Service.FIND, 0xA900, id="PS3.4 C.4.1.1.4 A900"),
        pytest.param(Unavailable(), Service.FIND, 0xA700, id="PS3.4 C.4.1.1.4 A700"),
        pytest.param(NotFound(), Service.FIND, 0x0000, id="no match"),
        pytest.param(UnknownNode(), Service.RETRIEVE, 0xA801, id="PS3.4 C.4.2.1.5 A801"),
        pytest.param(InvalidQuery("x"), Service.RETRIEVE, 0xA900, id="PS3.4 C.4.2.1.5 A900"),
        pytest.param(Unavailable(), Service.RETRIEVE, 0xA701, id="PS3.4 C.4.2.1.5 A701"),
        pytest.param(BlobMissing(), Service.RETRIEVE, 0xA702, id="PS3.4 C.4.2.1.5 A702"),
        pytest.param(Unavailable(), Service.ACTION, 0x0213, id="PS3.7 C.5.20"),
        pytest.param(UnknownNode(), Service.STORE, 0x0110, id="no row"),
        pytest.param(GantryError(), Service.FIND, 0x0110, id="no kind"),
    ],
)
def test_status_of(error: GantryError, service: Service, status: int) -> None:
    assert answer_to(error, service).status == status


def test_a_retrieval_that_began_cannot_perform_rather_than_count() -> None:
    assert answer_to(Unavailable(), Service.RETRIEVE, sub_operations_began=True).status == 0xA702


def test_the_comment_names_the_tag_once() -> None:
    answer = answer_to(InvalidInstance("Study Instance UID is missing", tag=0x0020000D), Service.STORE)
    assert answer == Response(
        status=0xA900,
        comment="(0020,000D) Study Instance UID is missing",
        offending_elements=(0x0020000D,),
    )
    named = answer_to(InvalidInstance("(0020,000D) is missing", tag=0x0020000D), Service.STORE)
    assert named.comment == "(0020,000D) is missing"


def test_nothing_found_has_no_comment() -> None:
    assert answer_to(NotFound("no such study"), Service.RETRIEVE) == Response(status=0)
