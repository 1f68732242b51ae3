"""How much of the processor a process asks for while others want it too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_AUTOGROUP = Path("/proc/self/autogroup")


def yield_to_others(niceness: int) -> None:
    """Take the processor only as far as those with a lower niceness leave it; 0 changes nothing.

    What the process starts inherits that.  Where Linux groups processes by session (sched(7)), niceness
    counts within a session only, so that the session's own is set as well.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    settle_session()


def settle_session() -> None:
    """Give the session of this process the process's own niceness, as whatever begins a session must."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        # Without groups there is no such file; where it may not be written the machine's owner decides.
        with suppress(OSError):
            _AUTOGROUP.write_text(str(niceness), encoding="ascii")
