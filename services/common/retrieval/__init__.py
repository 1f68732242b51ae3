"""Use case: give instances out, each in the best form that the receiver accepts (C-MOVE, C-GET, WADO-RS).

A form is one of three: the original's bytes, the bytes of its JPEG 2000 rendition, or the original
converted to an uncompressed transfer syntax.  The first two leave the store untouched.

* `best_form` chooses.
* `ReadAhead` opens instances and reads ahead of whoever writes them out; `open_instances` iterates over it.
"""

from __future__ import annotations

from services.common.retrieval.ahead import INSTANCES, ReadAhead, open_instances
from services.common.retrieval.forms import (
    ANY,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    RENDERED_IN,
    UNCOMPRESSED,
    Accepted,
    Form,
    best_form,
)
from services.common.retrieval.opening import Chunks, Outgoing

__all__ = [
    "ANY",
    "EXPLICIT_VR_LITTLE_ENDIAN",
    "IMPLICIT_VR_LITTLE_ENDIAN",
    "INSTANCES",
    "RENDERED_IN",
    "UNCOMPRESSED",
    "Accepted",
    "Chunks",
    "Form",
    "Outgoing",
    "ReadAhead",
    "best_form",
    "open_instances",
]
