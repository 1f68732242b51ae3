"""The only place in Gantry that reads Part 10 bytes: header scanner, header, DICOM JSON, file meta.

* `HeaderScanner` takes a data set as it passes, in pieces, and keeps its header (`CapturedHeader`);
  `complete` reads the rest of a header whose capture stopped early.
* `Header` answers from a captured header: elements, text, where the Pixel Data lies; `values` takes many
  keywords at once, `dicom_json` makes the DICOM JSON model.
* `is_cut_short` tells whether a data set on its way out ends inside its pixels.
* `file_meta` writes and `read_file_meta` reads what stands before the data set in a file (PS3.10 7.1).
* `Inflater` gives back the bytes of a deflated data set, `encode_elements` writes elements.
"""

from __future__ import annotations

from services.common.part10.completion import complete
from services.common.part10.deflate import Inflater
from services.common.part10.encode import encode_elements
from services.common.part10.encoding import is_deflated, tag_name
from services.common.part10.header import DataSet, Element, Header, PixelDataLocation, values
from services.common.part10.json_model import dicom_json
from services.common.part10.meta import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PREAMBLE,
    PREFIX,
    FileMeta,
    file_meta,
    read_file_meta,
)
from services.common.part10.pixel_end import is_cut_short
from services.common.part10.scanner import CAPTURE_LIMIT, HeaderScanner

__all__ = [
    "CAPTURE_LIMIT",
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "PREAMBLE",
    "PREFIX",
    "DataSet",
    "Element",
    "FileMeta",
    "Header",
    "HeaderScanner",
    "Inflater",
    "PixelDataLocation",
    "complete",
    "dicom_json",
    "encode_elements",
    "file_meta",
    "is_cut_short",
    "is_deflated",
    "read_file_meta",
    "tag_name",
    "values",
]
