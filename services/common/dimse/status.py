"""Which status says an error: kind × service (PS3.7 Annex C; PS3.4 B.2.3, C.4.1.1.4, C.4.2.1.5)."""

from __future__ import annotations

from enum import Enum

from services.common.dimse.handlers import Response
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

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01
"""PS3.4 C.4.1.1.4: matching goes on, some optional key was not supported."""
CANCELLED = 0xFE00
SUB_OPERATIONS_FAILED = 0xB000
"""PS3.4 C.4.2.1.5: sub-operations complete, one or more failures."""
PROCESSING_FAILURE = 0x0110
"""PS3.7 C.5.10."""
NO_SUCH_SOP_INSTANCE = 0x0112
"""PS3.7 C.5.11."""
INVALID_ARGUMENT_VALUE = 0x0115
"""PS3.7 C.5.7."""
UNRECOGNIZED_OPERATION = 0x0211
"""PS3.7 C.5.24."""
RESOURCE_LIMITATION = 0x0213
"""PS3.7 C.5.20."""
SOP_CLASS_NOT_SUPPORTED = 0x0122
"""PS3.7 C.5.23."""
OUT_OF_RESOURCES = 0xA700
"""PS3.4 B.2.3 (C-STORE) and C.4.1.1.4 (C-FIND)."""
CANNOT_COUNT_MATCHES = 0xA701
"""PS3.4 C.4.2.1.5."""
CANNOT_PERFORM_SUB_OPERATIONS = 0xA702
"""PS3.4 C.4.2.1.5."""
MOVE_DESTINATION_UNKNOWN = 0xA801
"""PS3.4 C.4.2.1.5."""
DATA_SET_DOES_NOT_MATCH = 0xA900
"""PS3.4 B.2.3: data set does not match SOP class; C.4.1.1.4: identifier does not."""
CANNOT_UNDERSTAND = 0xC000
"""PS3.4 B.2.3: cannot understand; C.4.1.1.4: unable to process."""


class Service(Enum):
    """The services whose errors have statuses of their own."""

    STORE = "store"
    FIND = "find"
    RETRIEVE = "retrieve"
    ACTION = "action"


_STATUSES: dict[type[GantryError], dict[Service, int]] = {
    InvalidInstance: {
        Service.STORE: DATA_SET_DOES_NOT_MATCH,
        Service.FIND: CANNOT_UNDERSTAND,
        Service.RETRIEVE: CANNOT_UNDERSTAND,
        Service.ACTION: INVALID_ARGUMENT_VALUE,
    },
    InvalidQuery: {
        Service.STORE: CANNOT_UNDERSTAND,
        Service.FIND: DATA_SET_DOES_NOT_MATCH,
        Service.RETRIEVE: DATA_SET_DOES_NOT_MATCH,
        Service.ACTION: INVALID_ARGUMENT_VALUE,
    },
    NotFound: {
        Service.STORE: CANNOT_UNDERSTAND,
        Service.FIND: SUCCESS,
        Service.RETRIEVE: SUCCESS,
        Service.ACTION: NO_SUCH_SOP_INSTANCE,
    },
    UnknownNode: {Service.RETRIEVE: MOVE_DESTINATION_UNKNOWN},
    NotAcceptable: {
        Service.STORE: SOP_CLASS_NOT_SUPPORTED,
        Service.FIND: SOP_CLASS_NOT_SUPPORTED,
        Service.RETRIEVE: SOP_CLASS_NOT_SUPPORTED,
        Service.ACTION: SOP_CLASS_NOT_SUPPORTED,
    },
    BlobMissing: {Service.RETRIEVE: CANNOT_PERFORM_SUB_OPERATIONS},
    Unavailable: {
        Service.STORE: OUT_OF_RESOURCES,
        Service.FIND: OUT_OF_RESOURCES,
        Service.RETRIEVE: CANNOT_COUNT_MATCHES,
        Service.ACTION: RESOURCE_LIMITATION,
    },
}


def answer_to(error: GantryError, service: Service, *, sub_operations_began: bool = False) -> Response:
    """The final response that tells the peer of `error`; its comment names the tag where one is to blame.

    A kind without a row, and an error of no kind, are processing failures.  An instance that no single
    tag spoils is "cannot understand" (Cxxx) rather than "does not match" (A9xx).
    """
    rows = next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), {})
    status = rows.get(service, PROCESSING_FAILURE)
    tag = error.tag if isinstance(error, InvalidInstance | InvalidQuery) else None
    if status == CANNOT_COUNT_MATCHES and sub_operations_began:
        status = CANNOT_PERFORM_SUB_OPERATIONS
    if isinstance(error, InvalidInstance) and service is Service.STORE and tag is None:
        status = CANNOT_UNDERSTAND
    if status == SUCCESS:
        return Response(status=SUCCESS)
    return Response(
        status=status,
        comment=_comment(str(error), tag),
        offending_elements=() if tag is None else (tag,),
    )


def _comment(detail: str, tag: int | None) -> str:
    if tag is None:
        return detail
    name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return detail if name in detail[:64] else f"{name} {detail}"
