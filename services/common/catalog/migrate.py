"""Bring the catalog's schema up to date: plain SQL, forward only, one transaction per file.

``NNNN_what.pre.sql`` runs while old code runs; ``NNNN_what.post.sql`` after it is gone.  A file that has
been applied anywhere is never edited.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg2.extensions import cursor

from services.common.adapters.postgres import LOCK_SPACE, Postgres
from services.common.errors import GantryError, Unavailable

_FOLDER = resources.files("services.common.catalog") / "migrations"
_FILE = re.compile(r"(\d{4})_\w+\.(pre|post)\.sql")
_TABLE = """
    CREATE TABLE IF NOT EXISTS migration (
        name        text COLLATE "C" PRIMARY KEY,
        checksum    text COLLATE "C" NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    )
"""


class SchemaMismatch(GantryError):
    """The database was migrated with other files than these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of SQL; `post` says that it waits until the code of the release before is gone."""

    name: str
    sql: str
    post: bool

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, 64 hex digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Traversable = _FOLDER) -> Sequence[Migration]:
    """The files of `folder` in the order in which they apply: by number, and ``pre`` before ``post``.

    Raises:
        SchemaMismatch: two files have one number and one kind, or a name is none of ours.
    """
    found: dict[tuple[str, bool], Migration] = {}
    for file in folder.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise SchemaMismatch(f"{file.name} is not named like a migration")
        place = match[1], match[2] == "post"
        if place in found:
            raise SchemaMismatch(f"{file.name} and {found[place].name} have the same number")
        found[place] = Migration(name=file.name, sql=file.read_text("utf-8"), post=place[1])
    return [found[place] for place in sorted(found)]


def migrate(postgres: Postgres, *, post: bool = True, folder: Traversable = _FOLDER) -> Sequence[str]:
    """Apply what is missing and give the names; several starters at once take turns.

    Without `post` the files that must wait for the old code's end are left for a later call.

    Raises:
        SchemaMismatch: a file was changed after it had been applied.
    """
    wanted = [migration for migration in migrations(folder) if post or not migration.post]
    return [migration.name for migration in wanted if _apply(postgres, migration)]


def _apply(postgres: Postgres, migration: Migration) -> bool:
    """Apply the migration unless it is; says whether it did."""
    with postgres.transaction(unhurried=True) as cur:
        cur.execute("SELECT pg_advisory_xact_lock(%s, hashtext('migrate'))", (LOCK_SPACE,))
        cur.execute(_TABLE)
        applied = _applied(cur).get(migration.name)
        if applied is None:
            cur.execute(migration.sql)
            cur.execute(
                "INSERT INTO migration (name, checksum) VALUES (%s, %s)",
                (migration.name, migration.checksum),
            )
        elif applied != migration.checksum:
            raise SchemaMismatch(f"{migration.name} was changed after it had been applied")
        return applied is None


def _applied(cur: cursor) -> dict[str, str]:
    """Checksums of the applied migrations by name."""
    cur.execute("SELECT name, checksum FROM migration")
    return dict(cur.fetchall())


def is_migrated(postgres: Postgres) -> bool:
    """Whether every migration that this code needs has been applied; those after it (``post``) may wait."""
    with postgres.transaction(read_only=True) as cur:
        cur.execute("SELECT to_regclass('migration') IS NOT NULL")
        row = cur.fetchone()
        applied = _applied(cur) if row and row[0] else {}
    return all(migration.name in applied for migration in migrations() if not migration.post)


def wait_until_migrated(postgres: Postgres, *, timeout_seconds: float) -> None:
    """Return when the schema is there; a server that does not answer yet is waited for as well.

    Raises:
        Unavailable: it is not there in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if is_migrated(postgres):
                return
            reason: Unavailable | None = None
        except Unavailable as exc:
            reason = exc
        if time.monotonic() > deadline:
            raise Unavailable("the catalog has not been migrated (run `gantry migrate`)") from reason
        time.sleep(0.2)
