"""What the associations of one sending share: what is still to be sent, and how each instance ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence

from services.common.model import Location
from services.common.sending.ending import Ended, failed

LOST_IN_A_ROW = 3
"""At so many instances, one after the other, is the association lost before the destination is given up."""

_DESTINATION_LOST = "destination lost"


class Work:
    """Instances for some workers, each of which is a thread with an association of its own.

    A worker takes instances, and for each either ends it or gives it back.  An instance at which an
    association was lost is tried once more; lost again, it alone has failed.
    """

    def __init__(self, locations: Iterable[Location], *, workers: int, stop: threading.Event) -> None:
        """After `stop` is set nothing more is taken."""
        self._waiting = deque(locations)
        self._workers = workers
        self._stop = stop
        self._given_up = False
        self._abandoned = False
        self._begun = 0
        self._results: deque[Ended] = deque()
        self._capacity = workers - 1
        self._lost_once: set[str] = set()
        self._lost_in_a_row = 0
        self._error: BaseException | None = None
        self._detail = ""
        self._changed = threading.Condition()

    @property
    def is_stopped(self) -> bool:
        """Whether no other instance shall begin."""
        return self._given_up or self._abandoned or self._stop.is_set()

    def take(self) -> Location | None:
        """The next instance, if there is one; never waits."""
        with self._changed:
            if self.is_stopped or not self._waiting:
                return None
            self._begun += 1
            return self._waiting.popleft()

    def end(self, ended: Ended) -> None:
        """An instance has ended.  Waits while earlier ends are not yet seen, so that a stop comes in time."""
        with self._changed:
            self._lost_in_a_row = 0
            self._end(ended)
            while len(self._results) > self._capacity and not self.is_stopped:
                self._changed.wait()

    def give_back(self, taken: Sequence[Location]) -> None:
        """Instances that were taken and not begun."""
        with self._changed:
            self._give_back(taken)

    def lose(self, taken: Sequence[Location], detail: str) -> None:
        """The association was lost at the first of the instances taken; `detail` says how."""
        with self._changed:
            self._detail = detail
            if not taken:
                return
            lost = taken[0]
            uid = lost.key.sop_instance_uid
            if uid not in self._lost_once:
                self._lost_once.add(uid)
                self._give_back(taken)
                return
            self._lost_in_a_row += 1
            self._given_up = self._lost_in_a_row >= LOST_IN_A_ROW
            self._end(failed(lost, _DESTINATION_LOST, detail))
            self._give_back(taken[1:])

    def await_more(self) -> bool:
        """Whether there is something to take; waits for what other workers might give back."""
        with self._changed:
            while not self._waiting and self._begun and not self.is_stopped:
                self._changed.wait(1.0)
            return bool(self._waiting) and not self.is_stopped

    def abandon(self) -> None:
        """Nobody reads the results any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def leave(self, error: BaseException | None = None, detail: str = "") -> None:
        """A worker ends; `error` is raised where the results are read, `detail` says why it cannot go on."""
        with self._changed:
            self._workers -= 1
            self._detail = detail or self._detail
            self._error = self._error or error
            self._changed.notify_all()

    def results(self, seconds: float) -> Generator[Ended | None, None, None]:
        """Each instance's end as it comes, and None whenever none has come for `seconds`.

        When all workers have left, what nobody sent has failed, unless it was stopped.
        """
        while True:
            with self._changed:
                if not self._results and self._workers and not self._changed.wait(seconds):
                    found: Ended | None = None
                elif self._results:
                    found = self._results.popleft()
                    self._changed.notify_all()
                elif self._workers:
                    continue
                else:
                    break
            yield found
        if self._error is not None:
            raise self._error
        while self._waiting and not self._stop.is_set():
            yield failed(self._waiting.popleft(), _DESTINATION_LOST, self._detail)

    def _end(self, ended: Ended) -> None:
        self._begun -= 1
        self._results.append(ended)
        self._changed.notify_all()

    def _give_back(self, taken: Sequence[Location]) -> None:
        self._begun -= len(taken)
        self._waiting.extendleft(reversed(taken))
        self._changed.notify_all()
