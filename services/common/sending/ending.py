"""How the sending of one instance ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from services.common import logs
from services.common.dimse.handlers import StoreOutcome
from services.common.dimse.lane import AssociationLost
from services.common.errors import BlobMissing, GantryError
from services.common.model import Location
from services.common.retrieval import Outgoing

_log = logs.get(__name__)


class Result(Enum):
    """How it ended, in the words of PS3.4 C.4.2.1.6 to C.4.2.1.8."""

    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One instance that was stored, or was not.

    `reason` of a failure is a kind of error or the status that was answered, for the log; `detail` is a
    sentence about it, which may hold UIDs and no other data of an instance.
    """

    location: Location
    result: Result
    reason: str = ""
    detail: str = ""


def store_one(outgoing: Outgoing, store: Callable[[Outgoing], StoreOutcome]) -> Ended:
    """Store one instance and say how it ended.

    Raises:
        AssociationLost: there is nobody to store at any more.
    """
    location, error = outgoing.location, outgoing.error
    if error is None:
        try:
            outcome = store(outgoing)
        except AssociationLost:
            raise
        except GantryError as exc:
            error = exc
    if error is not None:
        if isinstance(error, BlobMissing):
            _log.error("blob_missing", sop_instance_uid=location.key.sop_instance_uid, detail=str(error))
        return failed(location, type(error).__name__, str(error))
    if outcome.is_success:
        return Ended(location=location, result=Result.COMPLETED)
    status = f"{outcome.status:04X}"
    if outcome.is_warning:
        return Ended(location=location, result=Result.WARNING, reason=status, detail=_said(outcome))
    return failed(location, status, _said(outcome))


def _said(outcome: StoreOutcome) -> str:
    return f"answered with status {outcome.status:04X} {outcome.comment}".rstrip()


def failed(location: Location, reason: str, detail: str = "") -> Ended:
    """An instance that was not stored, or was not even begun."""
    return Ended(location=location, result=Result.FAILED, reason=reason, detail=detail or reason)
