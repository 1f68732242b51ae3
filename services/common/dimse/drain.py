"""The wish to end, in a form that a thread can wait on together with a socket."""

from __future__ import annotations

import os
import time


class Drain:
    """Begins once and never ends.  `fileno` becomes readable when it has begun.

    `seconds`: how long after that a peer that goes on sending is served.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._read, self._write = os.pipe()
        self._began: float | None = None

    def fileno(self) -> int:
        """A descriptor to poll."""
        return self._read

    def begin(self) -> None:
        """Wake everybody; safe in a signal handler, harmless a second time."""
        if self._began is None:
            self._began = time.monotonic()
            os.write(self._write, b"!")

    @property
    def has_begun(self) -> bool:
        """Whether nothing new is to be taken."""
        return self._began is not None

    @property
    def seconds_left(self) -> float:
        """Until the next message is no longer waited for; negative when that time is over."""
        if self._began is None:
            return self._seconds
        return self._began + self._seconds - time.monotonic()

    def close(self) -> None:
        """Give the descriptors back, when nobody polls them any more."""
        os.close(self._read)
        os.close(self._write)
