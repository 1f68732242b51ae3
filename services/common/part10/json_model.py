"""The DICOM JSON model (PS3.18 annex F), made straight from a header.

* Text is Unicode, so a Specific Character Set (0008,0005) is reported as ``ISO_IR 192``.
* DS and IS are numbers where they read as finite ones and strings where not; SV and UV beyond 53 bits are
  strings (F.2.3).  JSON has no NaN and no infinity: as in dcm4che, NaN is null and an infinity the largest
  number.
* Values left out of the header and Pixel Data are a BulkDataURI, or absent where no URI can be made; binary
  ones that are at hand are InlineBinary in little endian (F.2.7).
* Group lengths (F.2.2), groups 0000 and 0002 and trailing padding are absent; names are in ascending order.
"""

from __future__ import annotations

import array
import base64
import math
import re
import sys
from collections.abc import Callable, Collection
from typing import Any

from services.common.part10.encoding import PIXEL_TAGS
from services.common.part10.header import DataSet, Element, Header
from services.common.part10.text import NUMBERS, TEXT_VRS, numbers, tags, texts

BulkDataUri = Callable[[str], str]

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_LARGEST = {"FL": 3.4028234663852886e38, "FD": sys.float_info.max}
_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_WORDS = {"OW": "H", "OF": "I", "OL": "I", "OD": "Q", "OV": "Q"}
_SPECIFIC_CHARACTER_SET = 0x00080005
_UNREPORTED_GROUPS = (0x0000, 0x0002, 0xFFFC)
_SAFE = 1 << 53


def dicom_json(
    header: Header, bulk_data_uri: BulkDataUri | None, *, only: Collection[int] | None = None
) -> dict[str, Any]:
    """The model of a header, or of those of its top-level tags that `only` names.

    `bulk_data_uri` makes a URI of a path such as ``7FE00010`` or ``54000100/0/54001010``, which `Header.find`
    resolves; without it what would be bulk data is absent.
    """
    return _data_set(header, bulk_data_uri, "", only)


def _data_set(
    data_set: DataSet, bulk_data_uri: BulkDataUri | None, path: str, only: Collection[int] | None = None
) -> dict[str, Any]:
    model: dict[str, Any] = {}
    for element in sorted(data_set.elements(), key=_by_tag):
        tag = element.tag
        if (only is not None and tag not in only) or not tag & 0xFFFF or tag >> 16 in _UNREPORTED_GROUPS:
            continue
        name = f"{tag:08X}"
        attribute = _attribute(element, data_set, bulk_data_uri, path + name)
        if attribute is not None:
            model[name] = attribute
    return model


def _by_tag(element: Element) -> int:
    return element.tag


def _attribute(
    element: Element, data_set: DataSet, bulk_data_uri: BulkDataUri | None, path: str
) -> dict[str, Any] | None:
    vr, raw = element.vr, element.value
    if element.items is not None:
        items = [_data_set(i, bulk_data_uri, f"{path}/{n}/") for n, i in enumerate(element.items)]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    if not element.length:
        return {"vr": vr}
    if raw is None or element.tag in PIXEL_TAGS:
        return {"vr": vr, "BulkDataURI": bulk_data_uri(path)} if bulk_data_uri else None
    if element.tag == _SPECIFIC_CHARACTER_SET:
        return {"vr": vr, "Value": ["ISO_IR 192"]}
    if vr not in TEXT_VRS and vr not in NUMBERS and vr != "AT":
        return {"vr": vr, "InlineBinary": _inline(vr, raw, data_set.is_little_endian)}
    model = _values(vr, raw, data_set)
    return {"vr": vr, "Value": model} if any(value is not None for value in model) else {"vr": vr}


def _values(vr: str, raw: bytes, data_set: DataSet) -> list[Any]:
    """The Value array; an empty value among others is null (F.2.5)."""
    if vr in NUMBERS:
        return [_number(vr, value) for value in numbers(vr, raw, little=data_set.is_little_endian)]
    if vr == "AT":
        return list(tags(raw, little=data_set.is_little_endian))
    values = texts(vr, raw, data_set.charset)
    convert = _CONVERSIONS.get(vr)
    return [convert(value) if convert and value else value or None for value in values]


def _number(vr: str, value: int | float) -> int | float | str | None:
    if isinstance(value, int):
        return value if -_SAFE <= value <= _SAFE else str(value)
    if math.isnan(value):
        return None
    return math.copysign(_LARGEST[vr], value) if math.isinf(value) else value


def _decimal(text: str) -> float | str:
    number = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return text if math.isinf(number) else number


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _name(text: str) -> dict[str, str] | None:
    groups = zip(_PN_GROUPS, text.split("="), strict=False)
    return {group: name.rstrip(" ") for group, name in groups if name.rstrip(" ")} or None


_CONVERSIONS: dict[str, Callable[[str], Any]] = {"DS": _decimal, "IS": _integer, "PN": _name}


def _inline(vr: str, raw: bytes, little: bool) -> str:
    """Base64 of the value in little endian."""
    word = None if little else _WORDS.get(vr)
    if word and not len(raw) % array.array(word).itemsize:
        words = array.array(word, raw)
        words.byteswap()
        raw = words.tobytes()
    return base64.b64encode(raw).decode("ascii")
