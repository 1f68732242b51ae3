"""A session with PostgreSQL that waits for no answer for ever, be the server frozen or the network a hole.

libpq's own time-outs see neither: the kernel of a frozen server goes on acknowledging, and over a UNIX socket
there are none.  So psycopg2 waits in here, with a deadline for every wait.
"""

from __future__ import annotations

import select
import time

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, connection, set_wait_callback


class Silence(psycopg2.OperationalError):
    """The server has not answered in time; psycopg2 has closed the session."""


class Session(connection):
    """A connection each of whose waits (to connect, for the answer to a statement) ends.

    `patience` is how long, in seconds, a wait may take; None is for ever.
    """

    def __init__(self, dsn: str, *, connect_seconds: float, patience: float) -> None:
        self.was_silent = False
        self.patience: float | None = connect_seconds
        super().__init__(dsn)
        self.patience = patience


def _wait(session: connection) -> None:
    """Wait until psycopg2 may go on; what is raised closes the session."""
    patience = session.patience if isinstance(session, Session) else None
    ends_at = None if patience is None else time.monotonic() + patience
    while (wanted := session.poll()) != POLL_OK:
        ready = select.poll()
        ready.register(session.fileno(), select.POLLIN if wanted == POLL_READ else select.POLLOUT)
        left = None if ends_at is None else max(0.0, ends_at - time.monotonic()) * 1000
        if not ready.poll(left):
            assert isinstance(session, Session)
            session.was_silent = True
            raise Silence(f"no answer within {patience:g} s")


set_wait_callback(_wait)
