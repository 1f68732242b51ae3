"""What is missing where a data set ends too early; comments fit the 64 characters of (0000,0902)."""

from __future__ import annotations

from services.common.errors import InvalidInstance
from services.common.part10.encoding import PIXEL_DATA, Encoding, dictionary_vr, form_of, tag_name
from services.common.part10.grammar import SMALLEST_HEADER

_TAG_BYTES = 4


def cut_value(tag: int, *, came: int, declared: int) -> InvalidInstance:
    """The value of `tag`, or a fragment of it, has fewer bytes than it declares."""
    return InvalidInstance(f"{tag_name(tag)} is cut short: {came} of {declared} bytes came", tag=tag)


def cut_container(tag: int, *, inside: bool) -> InvalidInstance:
    """The sequence or encapsulated Pixel Data `tag` ends inside an item, or without its delimiter."""
    what = "the data set ends inside it" if inside else "no delimiter came at its end"
    return InvalidInstance(f"{tag_name(tag)} is cut short: {what}", tag=tag)


def cut_element(pending: bytes, encoding: Encoding, last: int) -> InvalidInstance:
    """The element that begins with the `pending` bytes is not all there; `last` is the tag before it."""
    if len(pending) < _TAG_BYTES:
        return InvalidInstance(f"the data set is cut short behind {tag_name(last)}", tag=last)
    tag = begun_tag(pending, encoding)
    size = SMALLEST_HEADER
    if encoding.explicit:
        _, size = form_of(pending[4:6]) or ("", SMALLEST_HEADER)
    if len(pending) < size:
        return InvalidInstance(f"{tag_name(tag)} is cut short: no value came", tag=tag)
    if size > SMALLEST_HEADER:
        (declared,) = encoding.long_length(pending, SMALLEST_HEADER)
    elif encoding.explicit:
        _, _, _, declared = encoding.header(pending)
    else:
        _, _, declared = encoding.item(pending)
    return cut_value(tag, came=len(pending) - size, declared=declared)


def begun_tag(pending: bytes, encoding: Encoding) -> int:
    """The tag that the first four bytes of `pending` are."""
    group, number, _ = encoding.item(pending[:_TAG_BYTES].ljust(SMALLEST_HEADER))
    return int(group << 16 | number)


def belongs_behind_pixels(tag: int) -> bool:
    """Whether bytes behind Pixel Data that begin so are an element, rather than something that came along."""
    group = tag >> 16
    is_private = group & 1 == 1 and group != 0xFFFF  # PS3.5 7.8.1
    return tag > PIXEL_DATA and (is_private or dictionary_vr(tag) != "UN")
