"""Every file of the corpus: read in time, and as pydicom reads it."""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue

from services.common.errors import InvalidInstance
from services.common.part10 import Header, HeaderScanner, complete, dicom_json, read_file_meta

MISREAD_BY_PYDICOM = frozenset(
    (
        "no_preamble_dicm_in_data",  # takes text at byte 128 for the prefix
        # reads the padding behind Pixel Data as elements
        "fuzz_corpus_v2__cat08_string_encoding__TC0405_latin1_utf8_payload.dcm",
    )
)
READ_BY_PYDICOM_ALONE = frozenset(
    (
        "fuzz_corpus_v2__cat05_transfer_syntax__TC0345_deflate_corrupt.dcm",
        "fuzz_corpus_v2__cat05_transfer_syntax__TC0347_deflate_truncated.dcm",
        "fuzz_corpus_v2__cat07_file_meta__TC0393_meta_glen_one.dcm",
        "fuzz_corpus_v2__cat07_file_meta__TC0395_meta_glen_max.dcm",
        "fuzz_corpus_v2__cat07_file_meta__TC0397_meta_glen_huge.dcm",
        "fuzz_corpus_v2__cat09_logic_bombs__TC0469_group_len_zero.dcm",
        "test_files__dicomdirtests__DICOMDIR-nooffset",  # an item's length reaches beyond its sequence
        "test_files__rtplan_truncated.dcm",
        "DICOMDIR-nooffset",
        "rtplan_truncated.dcm",
    )
)


def _header(data: bytes, *, whole: bool = True) -> Header:
    meta = read_file_meta(io.BytesIO(data))
    data_set = data[meta.data_set_offset :]
    syntax = meta.transfer_syntax_uid
    scanner = HeaderScanner(syntax)
    scanner.feed(data_set)
    captured = scanner.finish()
    if whole:
        captured = complete(captured, syntax, lambda o, n: data_set[o : o + n], len(data_set))
        assert captured.covers == len(data_set)
    return Header(captured, syntax)


def test_every_file_is_read_or_refused_in_time(corpus_files: list[Path]) -> None:
    for path in corpus_files:
        data = path.read_bytes()
        begun = time.process_time()
        try:
            found = _header(data)
            json.dumps(dicom_json(found, str), allow_nan=False)
            found.pixel_data()
        except InvalidInstance as exc:
            assert str(exc)
        assert time.process_time() - begun < 1, path.name


def _read_by_pydicom(paths: list[Path]) -> Iterator[tuple[Path, pydicom.Dataset]]:
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data_set = pydicom.dcmread(path)
                list(data_set)
            except Exception:  # noqa: BLE001, S112 - pydicom raises whatever its parsing ran into
                continue
            if data_set:  # pydicom gives up on what lacks its last delimiter, and gives nothing
                yield path, data_set


def _text_of(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    values = value if isinstance(value, list | MultiValue) else [value]
    if element.VR == "AT":
        return "\\".join(f"{int(v):08X}" for v in values)
    numeric = element.VR in ("DS", "IS")
    return "\\".join(str(getattr(v, "original_string", v) if numeric else v) for v in values)


def _without_padding(text: str, vr: str) -> str:
    text = "\\".join(v.strip(" ") for v in text.replace("\0", "").split("\\"))
    return text.rstrip("=") if vr == "PN" else text


def test_texts_are_those_that_pydicom_reads(corpus_files: list[Path]) -> None:
    compared = 0
    for path, data_set in _read_by_pydicom(corpus_files):
        if path.name in MISREAD_BY_PYDICOM:
            continue
        try:
            found = _header(path.read_bytes())
        except InvalidInstance:
            assert path.name in READ_BY_PYDICOM_ALONE, path
            continue
        for element in data_set:
            ours = found.element(int(element.tag))
            assert ours is not None, (path, element.tag)
            text = found.text(int(element.tag))
            if text is None or (ours.vr == "UL" and element.VR == "UN"):
                continue
            expected = _without_padding(_text_of(element), element.VR)
            assert _without_padding(text, element.VR) == expected, (path, element.tag)
            compared += 1
    assert compared > 1000


def _differences(ours: dict[str, Any], theirs: dict[str, Any], path: str = "") -> Iterator[str]:
    """What differs beyond the documented: pydicom's group lengths, private dictionary, charset, "" for null,
    unswapped words, NULs, and VR UN of what the dictionary knows."""
    for name in sorted(set(ours) | set(theirs)):
        mine, its = ours.get(name), theirs.get(name)
        if name.endswith("0000") or name == "00080005" or name.startswith("FFFC"):
            continue
        if mine is None or its is None:
            yield f"{path}{name} is only on one side"
        elif mine["vr"] == "SQ" and its["vr"] == "SQ":
            items, others = mine.get("Value", []), its.get("Value", [])
            if len(items) != len(others):
                yield f"{path}{name} has {len(items)} items and {len(others)}"
            for number, (item, other) in enumerate(zip(items, others, strict=False)):
                yield from _differences(item, other, f"{path}{name}/{number}/")
        elif "UN" in (mine["vr"], its["vr"]) or "BulkDataURI" in mine or name == "7FE00010":
            continue
        elif mine["vr"] != its["vr"] or _normal(mine) != _normal(its):
            yield f"{path}{name}: {mine} and {its}"


def _normal(attribute: dict[str, Any]) -> Any:
    if "InlineBinary" in attribute:
        return len(attribute["InlineBinary"])
    return [_normal_value(value) for value in attribute.get("Value", ())]


def _normal_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {group: _normal_value(name) for group, name in value.items()}
    return (value.replace("\0", "").strip(" ") or None) if isinstance(value, str) else value


def test_json_is_that_of_pydicom(corpus_files: list[Path]) -> None:
    compared = 0
    for path, data_set in _read_by_pydicom(corpus_files):
        if path.name in MISREAD_BY_PYDICOM | READ_BY_PYDICOM_ALONE:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = data_set.to_json_dict(
                    bulk_data_threshold=1 << 30,
                    bulk_data_element_handler=lambda _: "",
                )
            except Exception:  # noqa: BLE001, S112 - pydicom raises whatever its conversion ran into
                continue
        found = list(_differences(dicom_json(_header(path.read_bytes()), str), theirs))
        assert not found, (path, found)
        compared += 1
    assert compared > 50
