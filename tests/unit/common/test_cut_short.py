"""An original that ends inside its pixels, as older versions stored it, and where it does not go."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from services.common.model import Location
from services.common.part10 import is_cut_short
from services.common.ports import EncodedDataSet
from services.common.retrieval import ANY, open_instances
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import located
from tests.unit.common.part10.data_sets import EXPLICIT, IMPLICIT, JPEG, Writer, uids


class NoConverter:
    """Is never asked."""

    def convert(self, location: Location, transfer_syntax_uid: str) -> EncodedDataSet:
        raise AssertionError(transfer_syntax_uid)


LONG = 0x00204000, "LT", b"c" * 3000


def native(syntax: str, *, comments: bool = False, behind: bool = False) -> bytes:
    w = Writer(syntax)
    parts = [uids(w)]
    parts += [w.element(*LONG)] if comments else []
    parts.append(w.element(0x7FE00010, "OW", b"p" * 5000))
    parts += [w.element(0xFFFCFFFC, "OB", bytes(8))] if behind else []
    return b"".join(parts)


W = Writer(JPEG)
FRAGMENTS = uids(W) + W.fragments(b"", b"f" * 3000, b"g" * 2000)
NO_FRAGMENT = uids(W) + W.fragments(b"")
WHOLE = [
    (native(EXPLICIT), EXPLICIT),
    (native(IMPLICIT), IMPLICIT),
    (native(EXPLICIT, comments=True), EXPLICIT),
    (native(IMPLICIT, behind=True), IMPLICIT),
    (uids(W), EXPLICIT),
    (uids(W) + W.element(*LONG), EXPLICIT),
    (FRAGMENTS, JPEG),
    (NO_FRAGMENT, JPEG),
]
CUT = [
    (native(EXPLICIT)[:-1], EXPLICIT),
    (native(IMPLICIT)[:-4000], IMPLICIT),
    (native(EXPLICIT, comments=True)[:-10], EXPLICIT),
    (native(IMPLICIT, comments=True)[:-2900], IMPLICIT),
    (FRAGMENTS[:-8], JPEG),
    (FRAGMENTS[:-9], JPEG),
    (FRAGMENTS[:-2012], JPEG),
    (NO_FRAGMENT[:-8], JPEG),
]


@pytest.mark.parametrize(("data", "syntax"), WHOLE)
def test_a_whole_data_set_is_not_cut_short(data: bytes, syntax: str) -> None:
    assert not is_cut_short(data, syntax, len(data))


@pytest.mark.parametrize(("data", "syntax"), CUT)
def test_a_data_set_that_ends_inside_its_pixels_is_cut_short(data: bytes, syntax: str) -> None:
    assert is_cut_short(data, syntax, len(data))


def test_pixels_whose_end_is_not_in_memory_are_judged_by_their_length() -> None:
    data = native(EXPLICIT, comments=True)
    beginning = memoryview(data)[:4000]
    assert not is_cut_short(beginning, EXPLICIT, len(data))
    assert is_cut_short(beginning, EXPLICIT, len(data) - 1)
    assert not is_cut_short(memoryview(FRAGMENTS)[:1000], JPEG, len(FRAGMENTS) - 8)


def test_what_only_looks_like_pixels_is_none() -> None:
    icon = W.item(W.element(0x7FE00010, "OB", bytes(10)))
    lying = W.element(0x00204000, "LT", b"\xe0\x7f\x10\0OW\0\0\xfe\xff\xff\x7f ")
    data = uids(W) + W.sequence(0x00880200, [icon]) + lying + W.element(0x7FE00010, "OW", bytes(100))
    assert not is_cut_short(data, EXPLICIT, len(data))
    assert is_cut_short(data[:-1], EXPLICIT, len(data) - 1)


def given(data: bytes, syntax: str, accepted: tuple[str, ...]) -> tuple[str, bytes]:
    """The kind of error, and the bytes, of an instance that is to go out."""
    store = MemoryStore()
    location = located(store, 1, data, transfer_syntax_uid=syntax)
    [(error, content)] = [
        (type(outgoing.error).__name__ if outgoing.error else "", b"".join(map(bytes, outgoing.chunks)))
        for outgoing in open_instances([location], lambda _: accepted, store, NoConverter())
    ]
    return error, content


@pytest.mark.parametrize(("data", "syntax"), CUT)
def test_it_is_not_sent_as_it_is_and_the_log_says_so(data: bytes, syntax: str) -> None:
    with capture_logs() as logged:
        assert given(data, syntax, (syntax,)) == ("NotAcceptable", b"")
    [line] = logged
    assert (line["event"], line["log_level"]) == ("instance_cut_short", "error")
    assert line["sop_instance_uid"] == "1.2.3.1"
    assert given(data, syntax, ANY) == ("", data)


@pytest.mark.parametrize(("data", "syntax"), WHOLE)
def test_a_whole_one_is_sent_as_it_is(data: bytes, syntax: str) -> None:
    assert given(data, syntax, (syntax,)) == ("", data)
