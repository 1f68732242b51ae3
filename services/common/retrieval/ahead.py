"""Reading ahead: the next instances are opened, and read as far as memory goes, while one is sent.

So the latency of the object store is paid once and not for each instance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Self

from services.common.errors import NotAcceptable
from services.common.model import Location
from services.common.ports import BlobReader, Converter
from services.common.retrieval import blocks
from services.common.retrieval.blocks import BLOCK_BYTES, Blocks
from services.common.retrieval.forms import Accepted, best_form
from services.common.retrieval.opening import Opener, Outgoing

INSTANCES = 16
"""So many are opened ahead, unless told."""

READERS = 8
_TRANSFER_BLOCKS = 16 * 2**20 // BLOCK_BYTES
_INSTANCE_BLOCKS = 4 * 2**20 // BLOCK_BYTES


@dataclass(slots=True, kw_only=True)
class _Entry:
    """An instance on its way, for which `reserved` blocks are kept free.

    Its future gives None where it could not be opened before its turn; `open_now` then does.
    """

    future: Future[Outgoing | None]
    reserved: int = 0
    open_now: Callable[[], Outgoing] | None = None


class ReadAhead:
    """Instances in their best forms, in order; what cannot be given out comes with its `error`.

    Belongs to one thread, and is closed by it.  At most `instances` are opened before they are asked for,
    and each is read as far as blocks are reserved for it; without any, it waits for its turn.
    """

    def __init__(
        self,
        locations: Iterable[Location],
        accepted: Accepted,
        store: BlobReader,
        converter: Converter,
        *,
        instances: int = INSTANCES,
        memory: Blocks = blocks.PROCESS,
        reuse: bool = False,
    ) -> None:
        """With `reuse` a chunk is good until the next is asked for, which spares memory and time."""
        self._locations = iter(locations)
        self._accepted = accepted
        self._opener = Opener(store=store, converter=converter, blocks=memory if reuse else None)
        self._instances = instances
        self._memory = memory
        self._reserved = 0
        self._waiting: deque[_Entry] = deque()
        self._postponed: Location | None = None
        self._lent: _Entry | None = None
        self._readers = ThreadPoolExecutor(min(READERS, instances + 1), thread_name_prefix="retrieval")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Outgoing]:
        return self

    def __next__(self) -> Outgoing:
        """The next instance; the one before is closed."""
        self.wait()
        if not self._waiting:
            raise StopIteration
        self._lent = self._waiting.popleft()
        outgoing = self._lent.future.result()
        assert outgoing is not None  # `wait` has seen to it
        self._fill()
        return outgoing

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the next instance, or the end, is there within that time.  The one before is closed."""
        self._end_loan()
        if not self._waiting and (location := self._following()) is not None:
            self._begin(location, is_its_turn=True)
        self._fill()
        if not self._waiting:
            return True
        head = self._waiting[0]
        if not _is_done(head, seconds):
            return False
        if head.open_now is not None and head.future.result() is None:
            head.future, head.open_now = self._readers.submit(head.open_now), None
            return _is_done(head, seconds)
        return True

    def close(self) -> None:
        """Let go of everything that is open or being opened."""
        self._end_loan()
        for entry in self._waiting:
            entry.future.cancel()
        self._readers.shutdown()
        for entry in self._waiting:
            if not entry.future.cancelled() and entry.future.exception() is None:
                _close(entry.future.result())
            self._release(entry.reserved)
        self._waiting.clear()

    def _fill(self) -> None:
        while len(self._waiting) < self._instances and (location := self._following()) is not None:
            if not self._begin(location, is_its_turn=False):
                self._postponed = location
                return

    def _following(self) -> Location | None:
        location, self._postponed = self._postponed, None
        return location or next(self._locations, None)

    def _begin(self, location: Location, *, is_its_turn: bool) -> bool:
        """Have an instance opened; False where there is no memory for it before its turn."""
        accepted = self._accepted(location.sop_class_uid)
        try:
            form = best_form(location, accepted)
        except NotAcceptable as error:
            refused: Future[Outgoing | None] = Future()
            refused.set_result(Outgoing(location=location, error=error))
            self._waiting.append(_Entry(future=refused))
            return True
        asked = partial(self._opener.open, location, form, accepted)
        if is_its_turn:
            self._waiting.append(_Entry(future=self._readers.submit(asked, 0)))
            return True
        length = _INSTANCE_BLOCKS * BLOCK_BYTES if form.data_set is None else form.data_set.length
        reserved = min(-(-length // BLOCK_BYTES), _INSTANCE_BLOCKS)
        if not self._reserve(reserved):
            return False
        ahead = reserved * BLOCK_BYTES
        early = self._readers.submit(self._opener.open_early, location, form, accepted, ahead)
        self._waiting.append(_Entry(future=early, reserved=reserved, open_now=partial(asked, ahead)))
        return True

    def _reserve(self, count: int) -> bool:
        if self._reserved + count > _TRANSFER_BLOCKS or not self._memory.reserve(count):
            return False
        self._reserved += count
        return True

    def _release(self, count: int) -> None:
        self._reserved -= count
        self._memory.release(count)

    def _end_loan(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            _close(lent.future.result())
            self._release(lent.reserved)


def open_instances(
    locations: Iterable[Location],
    accepted: Accepted,
    store: BlobReader,
    converter: Converter,
    *,
    ahead: int = INSTANCES,
) -> Generator[Outgoing, None, None]:
    """Each instance as `ReadAhead` gives it.  Close the iterator, or read it to its end."""
    with ReadAhead(locations, accepted, store, converter, instances=ahead) as opened:
        yield from opened


def _close(outgoing: Outgoing | None) -> None:
    if outgoing is not None:
        outgoing.chunks.close()


def _is_done(entry: _Entry, seconds: float | None) -> bool:
    return entry.future.done() or bool(wait([entry.future], seconds).done)
