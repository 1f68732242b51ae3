"""Objects that are made durable while the next one comes in (asynchronous operations, PS3.7 D.3.3.3)."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from services.common.dimse.dialogue import Message
from services.common.dimse.handlers import Response

_THREADS = 4


class Finishing:
    """The requests of one association whose data sets are complete and that are not answered yet.

    Threads of its own finish them, in any order; `answer` gives the answers in the order of the requests,
    in the thread that calls it.  `fileno` becomes readable whenever one has been finished.
    """

    def __init__(self, window: int, respond: Callable[[Message, Response], None]) -> None:
        self._window = window
        self._respond = respond
        self._threads = ThreadPoolExecutor(min(window, _THREADS), thread_name_prefix="dimse-finishing")
        self._unanswered: deque[tuple[Message, Future[Response]]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """A descriptor to poll; `answer` silences it."""
        return self._bell

    def begin(self, message: Message, finish: Callable[[], Response]) -> None:
        """Finish the request in `message`, and wait as long as more are unanswered than the window allows."""
        future = self._threads.submit(contextvars.copy_context().run, finish)
        self._unanswered.append((message, future))
        future.add_done_callback(lambda _: os.eventfd_write(self._bell, 1))
        self.answer(leave=self._window - 1)

    def answer(self, *, leave: int) -> None:
        """Answer what is finished, and wait for the oldest until at most `leave` are unanswered.

        Raises:
            AssociationLost: the peer vanished or takes nothing.
        """
        with contextlib.suppress(BlockingIOError):  # nothing was finished since
            os.eventfd_read(self._bell)
        while self._unanswered and (len(self._unanswered) > leave or self._unanswered[0][1].done()):
            message, future = self._unanswered.popleft()
            self._respond(message, future.result())

    @property
    def window(self) -> int:
        """How many requests the peer may have outstanding."""
        return self._window

    def close(self) -> None:
        """Wait until what has begun is finished, answered or not."""
        self._threads.shutdown(wait=True)
        os.close(self._bell)
