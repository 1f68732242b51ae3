"""Connections to PostgreSQL: opened when first asked for, so many and no more, and safe across a fork."""

from __future__ import annotations

import functools
import os
import queue
import random
import select
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import psycopg2
from psycopg2.extensions import STATUS_READY, TransactionRollbackError, cursor

from services.common.adapters.postgres_session import Session, Silence
from services.common.errors import Unavailable
from services.common.settings import PostgresSettings

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LostRace(Unavailable):
    """Another transaction was in the way; the same one run again goes through."""


def retrying(
    transact: Callable[_P, _T], *, attempts: int = 20, longest_pause_seconds: float = 0.5
) -> Callable[_P, _T]:
    """`transact`, which runs one whole transaction, run again while it loses races (40001, 40P01).

    The last `LostRace` is raised after that many attempts.
    """

    @functools.wraps(transact)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for attempt in range(attempts - 1):
            try:
                return transact(*args, **kwargs)
            except LostRace:
                time.sleep(random.uniform(0, min(longest_pause_seconds, 0.005 * 2**attempt)))
        return transact(*args, **kwargs)

    return run


class SessionLock:
    """An advisory lock that is held for as long as its connection lives."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_held(self) -> bool:
        """Ask the server; False once the connection, and with it the lock, is gone."""
        try:
            with self._session.cursor() as cur:
                cur.execute("SELECT 1")
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            return False
        return True


class Postgres:
    """One database, and the pool of connections to it.

    A caller waits for a free connection rather than failing; a connection that broke is thrown away
    and the next transaction opens another.  No statement takes much longer than the settings let it: the
    server ends one that runs too long, and a server that is silent for longer still is not waited for.
    """

    def __init__(self, settings: PostgresSettings, *, application_name: str = "") -> None:
        """Open nothing yet.  The server lists the sessions under `application_name`."""
        self._settings = settings
        self._application_name = application_name or f"gantry {Path(sys.argv[0]).name}"
        self._forget_connections()
        _open_in_this_process.add(self)

    def _forget_connections(self) -> None:
        # A place in the pool is a connection or None, which stands for one still to be opened.  The most
        # recently used is taken first.  Connections of a parent process are dropped without a goodbye
        # to the server: psycopg2 closes only what its own process opened.
        self._places: queue.LifoQueue[Session | None] = queue.LifoQueue()
        for _ in range(self._settings.pool_size):
            self._places.put(None)

    @contextmanager
    def transaction(self, *, read_only: bool = False, unhurried: bool = False) -> Iterator[cursor]:
        """A cursor in a transaction of its own, which commits when the block ends without an error.

        An `unhurried` one may take as long as it likes.

        Raises:
            LostRace: the server chose this transaction as the victim of a conflict.
            Unavailable: no connection, or it broke or fell silent, or none became free in time.
        """
        session = self._take()
        try:
            with _wrapped():
                session.readonly = read_only
                with session.cursor() as cur:
                    if unhurried:
                        session.patience = None
                        cur.execute("SET LOCAL statement_timeout = 0")
                    yield cur
                session.commit()
        finally:
            self._give_back(session)

    @contextmanager
    def session_lock(self, name: str) -> Iterator[SessionLock | None]:
        """The lock of that name on a connection of its own, or None where another session holds it."""
        session = self._connect()
        try:
            with _wrapped():
                session.autocommit = True
                with session.cursor() as cur:
                    cur.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_SPACE, name))
                    row = cur.fetchone()
            yield SessionLock(session) if row and row[0] else None
        finally:
            session.close()

    def close(self) -> None:
        """Close the connections that are idle; another is opened where one is asked for."""
        places = []
        with suppress(queue.Empty):
            while True:
                places.append(self._places.get_nowait())
        for session in places:
            if session is not None:
                session.close()
            self._places.put(None)

    def _take(self) -> Session:
        try:
            session = self._places.get(timeout=self._settings.pool_timeout_seconds)
        except queue.Empty:
            raise Unavailable("all connections to PostgreSQL are in use") from None
        try:
            if session is not None and _has_ended(session):
                session.close()
                session = None
            return session or self._connect()
        except BaseException:
            self._places.put(None)
            raise

    def _give_back(self, session: Session) -> None:
        if not session.closed:
            with suppress(psycopg2.Error):  # it is not usable then
                session.rollback()
        usable = not session.closed and session.status == STATUS_READY
        if not usable:
            session.close()
        session.patience = self._patience
        self._places.put(session if usable else None)
        if session.was_silent:
            # The idle ones lead to the same silence; to connect anew is tried for a shorter time.
            self.close()

    @property
    def _patience(self) -> float:
        """How long, in seconds, an answer is waited for: the server's own end comes first."""
        return self._settings.statement_timeout_seconds + _GRACE_SECONDS

    def _connect(self) -> Session:
        settings = self._settings
        with _wrapped():
            return psycopg2.connect(
                connection_factory=functools.partial(
                    Session, connect_seconds=settings.connect_timeout_seconds, patience=self._patience
                ),
                host=settings.host,
                port=settings.port,
                dbname=settings.database,
                user=settings.user,
                password=settings.password.get_secret_value() if settings.password else None,
                application_name=self._application_name[:63],
                client_encoding="UTF8",
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                tcp_user_timeout=60_000,
                options=f"-c statement_timeout={settings.statement_timeout_seconds}s"
                f" -c idle_in_transaction_session_timeout={_IDLE_SECONDS}s",
            )


_GRACE_SECONDS = 2.0
_IDLE_SECONDS = 60

LOCK_SPACE = 0x47414E54
"""The first of the two numbers of every advisory lock with a name; those of one number are the writer's."""

_open_in_this_process: weakref.WeakSet[Postgres] = weakref.WeakSet()


def _forget_all() -> None:
    for postgres in _open_in_this_process:
        postgres._forget_connections()


os.register_at_fork(after_in_child=_forget_all)


def _has_ended(session: Session) -> bool:
    """Whether the server closed the idle connection: nothing else makes it readable."""
    if session.closed:
        return True
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN)
    return bool(poll.poll(0))


_NOT_READY = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.ReadOnlySqlTransaction,
)
"""What is said by a server whose schema has not been migrated yet, or that has become a standby."""


@contextmanager
def _wrapped() -> Iterator[None]:
    """Raise psycopg2's complaints about the server, and only those, as kinds of our own."""
    try:
        yield
    except TransactionRollbackError as exc:
        raise LostRace(f"PostgreSQL ended a transaction: {exc.pgcode}") from exc
    except psycopg2.errors.ProgramLimitExceeded:
        raise
    except _NOT_READY as exc:
        raise Unavailable(f"PostgreSQL is not ready: {type(exc).__name__} {exc.pgcode}") from exc
    except Silence as exc:
        raise Unavailable(f"PostgreSQL is silent: {exc}") from exc
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as exc:
        reason = f"{type(exc).__name__} {exc.pgcode or ''}".rstrip()
        raise Unavailable(f"PostgreSQL does not answer: {reason}") from exc
