"""Headers compressed against the first of their series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.catalog.headers import (
    AGAINST_SERIES,
    DICTIONARY_BYTES,
    PLAIN,
    dictionary_of,
    pack_header,
    unpack_header,
)


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_header_comes_back_whatever_its_dictionary(content: bytes, first: bytes) -> None:
    dictionary = dictionary_of(first)
    form, packed = pack_header(content, dictionary)
    assert form == (AGAINST_SERIES if first else PLAIN)
    assert unpack_header(form, packed, dictionary) == content


def test_a_long_first_header_serves_as_far_as_deflate_can_refer() -> None:
    first = bytes(range(256)) * 1000
    dictionary = dictionary_of(first)
    assert dictionary is not None
    assert len(dictionary) == DICTIONARY_BYTES
    form, packed = pack_header(first, dictionary)
    assert unpack_header(form, packed, dictionary) == first


def test_headers_alike_cost_little() -> None:
    first = b"".join(b"%d is a value that all have" % number for number in range(100))
    form, packed = pack_header(first.replace(b"42", b"43"), dictionary_of(first))
    assert form == AGAINST_SERIES
    assert len(packed) < 60


@pytest.mark.parametrize(("form", "dictionary"), [(AGAINST_SERIES, None), (9, b"x")])
def test_what_cannot_be_read_says_so(form: int, dictionary: bytes | None) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        unpack_header(form, b"", dictionary)
