"""Migrations on a real PostgreSQL: once, in order, by one starter at a time."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import psycopg2
import pytest

from services.common.adapters.postgres import Postgres
from services.common.catalog import migrate as module
from services.common.catalog.migrate import (
    SchemaMismatch,
    is_migrated,
    migrate,
    migrations,
    wait_until_migrated,
)
from services.common.errors import Unavailable
from services.common.settings import PostgresSettings
from services.embedded.binaries import postgres_programs
from tests.servers import TestPostgres


@contextmanager
def connected(settings: PostgresSettings) -> Iterator[Postgres]:
    postgres = Postgres(settings)
    try:
        yield postgres
    finally:
        postgres.close()


def _folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, sql in files.items():
        (path / f"{name.replace('__', '.')}.sql").write_text(sql)
    return path


def _tables(postgres: Postgres) -> Sequence[str]:
    with postgres.transaction() as cur:
        cur.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [name for (name,) in cur]


def _schema(settings: PostgresSettings) -> Sequence[str]:
    """The schema as pg_dump writes it, without comments and its own commands."""
    password = settings.password.get_secret_value() if settings.password else ""
    dump = subprocess.run(
        [postgres_programs() / "pg_dump", "--schema-only", "--no-owner", "--no-privileges"],
        env={
            "PGHOST": settings.host,
            "PGPORT": str(settings.port),
            "PGUSER": settings.user,
            "PGPASSWORD": password,
            "PGDATABASE": settings.database,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line for line in dump.stdout.splitlines() if line and not line.startswith(("--", "\\"))]


def test_all_are_applied_once(fresh_postgres: PostgresSettings) -> None:
    with connected(fresh_postgres) as postgres:
        assert not is_migrated(postgres)
        assert list(migrate(postgres)) == [migration.name for migration in migrations()]
        assert list(migrate(postgres)) == []
        assert is_migrated(postgres)
        wait_until_migrated(postgres, timeout_seconds=0)


def test_starters_at_once_take_turns(fresh_postgres: PostgresSettings) -> None:
    applied: list[str] = []
    failed: list[BaseException] = []

    def start() -> None:
        try:
            with connected(fresh_postgres) as postgres:
                applied.extend(migrate(postgres))
        except BaseException as exc:
            failed.append(exc)
            raise

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(applied) == [migration.name for migration in migrations()]  # each once, by whichever


def test_order_is_by_number_and_what_must_wait_waits(
    fresh_postgres: PostgresSettings, tmp_path: Path
) -> None:
    folder = _folder(
        tmp_path / "files",
        **{
            "0010_last__pre": "CREATE TABLE last ()",
            "0002_two__post": "DROP TABLE one",
            "0002_two__pre": "ALTER TABLE one ADD COLUMN percent text DEFAULT '100 %s'",
            "0001_one__pre": "CREATE TABLE one ()",
        },
    )
    (folder / "README").write_text("no migration")
    with connected(fresh_postgres) as postgres:
        assert migrate(postgres, post=False, folder=folder) == [
            "0001_one.pre.sql",
            "0002_two.pre.sql",
            "0010_last.pre.sql",
        ]
        assert _tables(postgres) == ["last", "migration", "one"]
        assert migrate(postgres, folder=folder) == ["0002_two.post.sql"]
        assert _tables(postgres) == ["last", "migration"]


def test_one_that_fails_leaves_nothing_and_what_came_before_stays(
    fresh_postgres: PostgresSettings, tmp_path: Path
) -> None:
    folder = _folder(
        tmp_path / "files",
        **{"0001_one__pre": "CREATE TABLE one ()", "0002_two__pre": "CREATE TABLE two (); SELECT 1 / 0"},
    )
    with connected(fresh_postgres) as postgres:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            migrate(postgres, folder=folder)
        assert _tables(postgres) == ["migration", "one"]


def test_a_file_that_was_changed_is_refused(fresh_postgres: PostgresSettings, tmp_path: Path) -> None:
    before = _folder(tmp_path / "before", **{"0001_one__pre": "CREATE TABLE one ()"})
    after = _folder(tmp_path / "after", **{"0001_one__pre": "CREATE TABLE one (id int)"})
    with connected(fresh_postgres) as postgres:
        migrate(postgres, folder=before)
        with pytest.raises(SchemaMismatch, match=r"0001_one\.pre\.sql was changed"):
            migrate(postgres, folder=after)


@pytest.mark.parametrize("names", [("0001_one__pre", "0001_other__pre"), ("1_one__pre",), ("0001_one",)])
def test_names_that_leave_the_order_open_are_refused(tmp_path: Path, names: Sequence[str]) -> None:
    folder = _folder(tmp_path / "files", **dict.fromkeys(names, "SELECT 1"))
    with pytest.raises(SchemaMismatch):
        migrations(folder)


def test_waiting_ends_when_another_has_migrated(fresh_postgres: PostgresSettings) -> None:
    with connected(fresh_postgres) as waiting, connected(fresh_postgres) as postgres:
        later = threading.Timer(0.5, migrate, (postgres,))
        later.start()
        wait_until_migrated(waiting, timeout_seconds=30)
        later.join()
        assert is_migrated(waiting)


def test_waiting_in_vain_ends(fresh_postgres: PostgresSettings) -> None:
    with connected(fresh_postgres) as postgres, pytest.raises(Unavailable, match="gantry migrate"):
        wait_until_migrated(postgres, timeout_seconds=0.1)
    absent = fresh_postgres.model_copy(update={"port": 1})
    with connected(absent) as postgres, pytest.raises(Unavailable, match="gantry migrate"):
        wait_until_migrated(postgres, timeout_seconds=0.1)


def test_the_schema_file_says_what_the_migrations_make(
    postgres: TestPostgres, fresh_postgres: PostgresSettings
) -> None:
    with connected(fresh_postgres) as migrated:
        migrate(migrated)
    told = postgres.fresh_database()
    try:
        with connected(told) as schema, schema.transaction() as cur:
            cur.execute((resources.files(module.__package__ or "") / "schema.sql").read_text("utf-8"))
        assert _schema(told) == _schema(fresh_postgres)
        assert len(_schema(told)) > 200
    finally:
        postgres.drop(told)
