"""A supervisor with PostgreSQL and Redis, to be broken by tests: ``python -m tests.embedded_archive FOLDER``.

Prints one line of JSON when both are ready, and ends as ``gantry up`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.common import logs
from services.common.settings import LogSettings, PostgresSettings
from services.embedded.lock import ArchiveLock
from services.embedded.postgres import EmbeddedPostgres
from services.embedded.redis import EmbeddedRedis
from services.embedded.supervisor import Supervisor
from tests.servers import connect

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the supervisor says once its servers are up."""

    supervisor: int
    postgres: int
    redis: int
    rows: int
    user: int
    settings: PostgresSettings = field(compare=False)


@contextmanager
def running(
    folder: Path, prefix: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The supervisor as a process in a session of its own; killed at the end if it still runs."""
    command = [*prefix, sys.executable, "-m", "tests.embedded_archive", str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def report(process: subprocess.Popen[str]) -> Report:
    """Wait until its servers are up."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    told = json.loads(line)
    return Report(settings=PostgresSettings(**told.pop("settings")), **told)


def add_row(settings: PostgresSettings) -> int:
    """Add a row to a table, and count them all."""
    with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS rows (n int)")
        cursor.execute("INSERT INTO rows VALUES (1)")
        cursor.execute("SELECT count(*) FROM rows")
        row = cursor.fetchone()
        assert row
        return int(row[0])


def main() -> None:
    """Run until told to stop."""
    logs.configure(LogSettings(), "up")
    with ArchiveLock(Path(sys.argv[1])) as lock, Supervisor() as supervisor:
        postgres, redis = EmbeddedPostgres(lock), EmbeddedRedis(lock)
        supervisor.start(postgres.child_spec())
        supervisor.start(redis.child_spec())
        told = {
            "supervisor": os.getpid(), "postgres": postgres.pid, "redis": redis.pid, "user": os.geteuid(),
            "rows": add_row(postgres.settings), "settings": postgres.settings.model_dump(),
        }  # fmt: skip
        print(json.dumps(told), flush=True)
        supervisor.run()


if __name__ == "__main__":
    main()
