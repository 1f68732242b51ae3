"""Identifiers and data sets in the encodings that peers use, by pydicom."""

from __future__ import annotations

import io
import warnings
from typing import Any

from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from services.common.model import CapturedHeader
from services.common.part10 import HeaderScanner

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN)


def data_set(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        made.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return made


def encode(content: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    out = DicomBytesIO()
    uid = UID(transfer_syntax_uid)
    out.is_implicit_VR, out.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    with warnings.catch_warnings(action="ignore"):
        write_dataset(out, content)
    return out.getvalue()


def identifier(transfer_syntax_uid: str = EXPLICIT, **values: Any) -> bytes:
    return encode(data_set(**values), transfer_syntax_uid)


def decode(encoded: bytes, transfer_syntax_uid: str = EXPLICIT) -> Dataset:
    meta = data_set(TransferSyntaxUID=transfer_syntax_uid)
    head = encode(meta)
    group = b"\x02\0\0\0UL\x04\0" + len(head).to_bytes(4, "little")
    return dcmread(io.BytesIO(bytes(128) + b"DICM" + group + head + encoded))


def captured(content: Dataset, transfer_syntax_uid: str = EXPLICIT) -> CapturedHeader:
    scanner = HeaderScanner(transfer_syntax_uid)
    scanner.feed(encode(content, transfer_syntax_uid))
    return scanner.finish()
