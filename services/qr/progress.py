"""The count of a retrieval's sub-operations, as its responses tell it (PS3.4 C.4.2.1.4 to C.4.2.1.8)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from services.common.dimse.handlers import Response
from services.common.dimse.status import (
    CANCELLED,
    CANNOT_PERFORM_SUB_OPERATIONS,
    PENDING,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
)
from services.common.part10 import encode_elements
from services.common.sending import Ended, Result
from services.qr.answers import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058


@dataclass(slots=True, kw_only=True)
class Progress:
    """What became of `total` sub-operations so far; what has not ended remains."""

    total: int
    transfer_syntax_uid: str
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """How many failed."""
        return len(self.failed_uids)

    @property
    def remaining(self) -> int:
        """How many have not ended."""
        return self.total - self.completed - self.warning - self.failed

    def count(self, ended: Ended) -> None:
        """One more has ended."""
        match ended.result:
            case Result.COMPLETED:
                self.completed += 1
            case Result.WARNING:
                self.warning += 1
            case Result.FAILED:
                self.failed_uids.append(ended.location.key.sop_instance_uid)
                self.reasons[ended.reason] += 1

    def pending(self) -> Response:
        """More follow."""
        return self._response(PENDING, remaining=self.remaining)

    def final(self) -> Response:
        """All are over: well, in part, or not one (PS3.4 C.4.2.1.5)."""
        if self.failed and not self.completed and not self.warning:
            return self._response(CANNOT_PERFORM_SUB_OPERATIONS)
        return self._response(SUB_OPERATIONS_FAILED if self.failed or self.warning else SUCCESS)

    def cancelled(self) -> Response:
        """The peer wants no more."""
        return self._response(CANCELLED, remaining=self.remaining)

    def _response(self, status: int, remaining: int | None = None) -> Response:
        return Response(
            status=status,
            identifier=self._failed_list() if self.failed_uids and status != PENDING else None,
            remaining=remaining,
            completed=self.completed,
            failed=self.failed,
            warning=self.warning,
        )

    def _failed_list(self) -> bytes:
        """The identifier of a last response that tells which failed (PS3.4 C.4.2.1.4.2)."""
        return encode_elements(
            [(FAILED_SOP_INSTANCE_UID_LIST, "UI", "\\".join(self.failed_uids).encode("ascii", "replace"))],
            explicit=self.transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN,
            little=self.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        )
