"""Finds originals that the catalog lacks, and tells index of them again.

Two walks over the keys, which are in order of time.  The recent one begins at a watermark, and examines
every time anew what is younger than the longest permitted PUT and the clocks' skew: a pod may have been
frozen between its PUT and its message.  The full one goes through everything, a few pages a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from services.common import keys, logs
from services.common.counts import Counter, Gauge
from services.common.errors import BlobMissing, InvalidInstance, Unavailable
from services.common.events import InstancesStored
from services.common.intake import recover
from services.common.keys import Area
from services.common.model import StoredInstance
from services.common.ports import BlobStat, BlobStore, CatalogWriter, Watermarks
from services.index.held import Held
from services.index.outstanding import Outstanding

GoOn = Callable[[], bool]
"""Whether the sweeper still has its turn and was not told to stop."""

_RECENT, _FULL = "originals.recent", "originals.full"
_PREFIX = f"{Area.ORIGINALS}/"
_PAGE = 1000
_BATCH = 50
_PAGES_BETWEEN_NOTES = 100
_READERS = 8
_log = logs.get(__name__)
_OLDEST = Gauge(
    "gantry_oldest_unindexed_seconds",
    "Age of the oldest original found that the catalog lacks and the quarantine does not hold",
    multiprocess_mode="mostrecent",
)
_TOLD = Counter("gantry_sweep_instances_total", "Instances told of again, by queue", ("queue",))
_OUTSTANDING = Gauge(
    "gantry_sweep_outstanding", "Told of again and not come through", multiprocess_mode="mostrecent"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """In seconds: what is younger than `youngest` is left alone, what is older than `settled` is final."""

    youngest: float
    settled: float


class Unindexed:
    """The two walks."""

    def __init__(
        self,
        *,
        store: BlobStore,
        catalog: CatalogWriter,
        watermarks: Watermarks,
        outstanding: Outstanding,
        held: Held,
        ages: Ages,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._watermarks = watermarks
        self._outstanding = outstanding
        self._held = held
        self._ages = ages
        self._clock = clock
        self._oldest: str | None = None

    def sweep_recent(self, go_on: GoOn) -> None:
        """Examine everything since the watermark, and move it up."""
        self._oldest = None
        self._outstanding.settle(self._catalog.missing)
        reached = mark = self._watermarks.watermark(_RECENT)
        try:
            for pages, reached in enumerate(self._walk(mark, go_on)):
                if pages % _PAGES_BETWEEN_NOTES == 0:
                    mark = self._move_up(mark, reached)
            self._move_up(mark, reached)
        finally:
            self._report()

    def sweep_some(self, go_on: GoOn, pages: int) -> bool:
        """Go on with the full pass for so many pages; says whether that was the end of it."""
        mark = self._watermarks.watermark(_FULL)
        try:
            *_, reached = islice(self._walk(mark, go_on), pages + 1)
        finally:
            self._report()
        ended = reached >= self._before(self._ages.settled)
        self._watermarks.set_watermark(_FULL, "" if ended else reached)
        return ended

    def _move_up(self, mark: str, reached: str) -> str:
        """Set the watermark, now `mark`, to what is dealt with for good; gives where it is then."""
        waiting = self._outstanding.first
        final = min(
            reached,
            self._before(self._ages.settled),
            reached if waiting is None else keys.before(keys.received_at(waiting)),
        )
        if final <= mark:
            return mark
        self._watermarks.set_watermark(_RECENT, final)
        return final

    def _walk(self, after: str, go_on: GoOn) -> Iterator[str]:
        """Examine the keys greater than `after`, but the youngest; gives `after`, and with each page how far
        it has come."""
        yield after
        end = self._before(self._ages.youngest)
        while go_on():
            page = [s for s in self._store.list(_PREFIX, after=after, limit=_PAGE) if s.key < end]
            no_room_from = self._examine(page)
            if no_room_from is not None:
                yield max(after, no_room_from)
                return
            if len(page) < _PAGE:
                yield max(after, end)
                return
            after = page[-1].key
            yield after

    def _examine(self, page: Sequence[BlobStat]) -> str | None:
        """Tell of what the catalog lacks; gives how far that went where there is no room for more."""
        missing = self._catalog.missing(stat.key for stat in page) if page else set()
        lacking = [s for s in page if s.key in missing and s.key not in self._outstanding]
        for start in range(0, len(lacking), _BATCH):
            batch = lacking[start : start + _BATCH]
            with ThreadPoolExecutor(_READERS, thread_name_prefix="recover") as readers:
                found = list(filter(None, readers.map(self._recover, batch)))
            if not found:
                continue
            self._oldest = min(filter(None, (self._oldest, found[0].blob.key)))
            if self._outstanding.room() < len(found):
                return keys.before(keys.received_at(batch[0].key))
            event = InstancesStored(instances=tuple(found))
            self._outstanding.tell(event)
            _TOLD.labels("index").inc(len(found))
            _log.info("instances_told_again", queue="index", summary=event.summary)
        return None

    def _recover(self, stat: BlobStat) -> StoredInstance | None:
        """What intake knew of an original, or None where it has gone or the quarantine holds it."""
        if stat.key in self._held:
            return None
        try:
            return recover(self._store, stat)
        except BlobMissing:
            return None
        except Unavailable:
            raise
        except InvalidInstance as exc:
            self._held.hold(stat.key, str(exc))
        except Exception as exc:  # noqa: BLE001  (one bad object must not end every sweep)
            self._held.hold(stat.key, f"{type(exc).__name__}: {exc}")
        return None

    def _report(self) -> None:
        age = self._clock() - keys.received_at(self._oldest) if self._oldest else timedelta()
        _OLDEST.set(age.total_seconds())
        _OUTSTANDING.set(len(self._outstanding))

    def _before(self, seconds: float) -> str:
        return keys.before(self._clock() - timedelta(seconds=seconds))
