"""What an Accept header takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from services.api.dicomweb.accept import accepted, choose, content_type, pick, ranges
from services.common.errors import NotAcceptable
from tests.waiting import is_ever_quicker

JSON = ("application/dicom+json", "application/json")


@pytest.mark.parametrize(
    ("header", "name", "content", "syntax"),
    [
        (
            'multipart/related; type="application/dicom"; transfer-syntax=*',
            "multipart/related",
            "application/dicom",
            "*",
        ),
        ("multipart/related;type=application/dicom", "multipart/related", "application/dicom", ""),
        ('Multipart/Related; TYPE="Image/JP2"', "multipart/related", "image/jp2", ""),
        (
            'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80"',
            "multipart/related",
            "image/jls",
            "1.2.840.10008.1.2.4.80",
        ),
        (
            "application/dicom ; transfer-syntax = 1.2 ; q = 0.5",
            "application/dicom",
            "application/dicom",
            "1.2",
        ),
        ('multipart/related; type="a\\"b"', "multipart/related", 'a"b', ""),
        ('multipart/related; type="a,b;c"; transfer-syntax=1.2', "multipart/related", "a,b;c", "1.2"),
        ("multipart/related", "multipart/related", "*/*", ""),
    ],
)
def test_ranges_are_read(header: str, name: str, content: str, syntax: str) -> None:
    (found,) = ranges(header)
    assert (found.name, found.content, found.transfer_syntax) == (name, content, syntax)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("application/json;q=0.4, application/dicom+json;q=0.5", "application/dicom+json"),
        ("application/json;q=0.5, application/dicom+json;q=0.4", "application/json"),
        ("application/dicom+json;q=0, application/json", "application/json"),
        ("APPLICATION/JSON", "application/json"),
        ("text/html,,, application/json ,", "application/json"),
    ],
)
def test_the_best_of_what_is_offered_is_chosen(header: str, chosen: str) -> None:
    assert choose(ranges(header), JSON) == chosen


@pytest.mark.parametrize(
    "header",
    [
        "text/plain",
        "application/dicom+xml",
        "*/*;q=0",
        "application/json;q=x",
        "application/json;q=nan",
        ";;;,,,",
    ],
)
def test_nothing_to_choose_is_not_acceptable(header: str) -> None:
    with pytest.raises(NotAcceptable, match=r"application/dicom\+json"):
        choose(ranges(header), JSON)


def test_what_does_not_care_gets_several_parts() -> None:
    assert pick(ranges("*/*"), ["application/dicom"])[0].is_multipart
    assert pick(ranges("image/png, multipart/related"), ["application/dicom"])[0].is_multipart
    assert not pick(ranges("image/png, application/dicom"), ["application/dicom"])[0].is_multipart


def test_several_headers_are_one_list() -> None:
    assert [one.name for one in ranges(["a/b;q=0.1", "c/d, e/f;q=0.5"])] == ["c/d", "e/f", "a/b"]


def test_query_parameter_goes_before_the_header() -> None:
    scope = {
        "type": "http",
        "query_string": b"accept=application/dicom+json",
        "headers": [(b"accept", b"text/html")],
    }
    assert [one.name for one in accepted(Request(scope))] == ["application/dicom+json"]
    assert [one.name for one in accepted(Request(scope | {"query_string": b""}))] == ["text/html"]


def test_content_type_without_anything_takes_nothing() -> None:
    assert content_type("").name == ""
    assert not content_type("").takes("application/dicom")


@pytest.mark.parametrize(
    "header", ['"\\"' * 20000, ';a="' * 16000, ',"' * 32000, ";a=" * 20000, "\\" * 60000]
)
def test_hostile_headers_cost_linear_time(header: str) -> None:
    assert is_ever_quicker(1.0, lambda: ranges(header))


@given(st.text(alphabet='abc/*;=,"\\ .q01-', max_size=60))
def test_any_text_is_read(header: str) -> None:
    assert all(0 < one.quality <= 1 for one in ranges(header))
