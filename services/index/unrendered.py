"""Finds served instances that transcode was never heard of, and tells it of them again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.common import logs
from services.common.events import InstancesIndexed
from services.common.model import Unrendered
from services.common.ports import Leftovers, Watermarks
from services.index.held import Held
from services.index.outstanding import Outstanding
from services.index.unindexed import GoOn

_WALK = "instances.unrendered"
_BATCH = 50
_log = logs.get(__name__)


class UnrenderedSweep:
    """Looks at the newest instances every time, and at some of all the others in turn."""

    def __init__(
        self,
        *,
        leftovers: Leftovers,
        watermarks: Watermarks,
        outstanding: Outstanding,
        held: Held,
        after: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """An instance is told of again `after` so many seconds without rendition or refusal."""
        self._leftovers = leftovers
        self._watermarks = watermarks
        self._outstanding = outstanding
        self._held = held
        self._after = timedelta(seconds=after)
        self._clock = clock

    def sweep(self, go_on: GoOn) -> None:
        """Look at the newest instances, and at the next ones of the walk over all."""
        self._outstanding.settle(self._leftovers.still_unrendered)
        before = self._clock() - self._after
        if self._tell(self._leftovers.unrendered(after=None, before=before), go_on):
            page = self._leftovers.unrendered(
                after=int(self._watermarks.watermark(_WALK) or 0), before=before
            )
            if self._tell(page, go_on):
                self._watermarks.set_watermark(_WALK, str(page.through) if page.more else "")

    def _tell(self, page: Unrendered, go_on: GoOn) -> bool:
        """Tell of all of them; says whether there was room for that."""
        left = [i for i in page.instances if i.blob.key not in self._outstanding]
        for start in range(0, len(left), _BATCH):
            if not go_on():
                return False
            batch = [i for i in left[start : start + _BATCH] if i.blob.key not in self._held]
            if not batch:
                continue
            if self._outstanding.room() < len(batch):
                return False
            event = InstancesIndexed(instances=tuple(batch))
            self._outstanding.tell(event)
            _log.info("instances_told_again", queue="transcode", summary=event.summary)
        return True
