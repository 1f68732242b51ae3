"""Real servers for the tests: one PostgreSQL and one Redis per session, a fresh database per test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import psycopg2
import pytest
import redis as redis_client

from services.common.settings import PostgresSettings, RedisSettings
from services.embedded.lock import ArchiveLock
from services.embedded.postgres import EmbeddedPostgres
from services.embedded.redis import EmbeddedRedis

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPostgres:
    """A running PostgreSQL that makes databases.  `settings` names one that all tests of a session share."""

    __test__ = False

    settings: PostgresSettings
    superuser: PostgresSettings
    _templates: dict[str, str] = field(default_factory=dict)

    def fresh_database(self, template: str = "template0") -> PostgresSettings:
        """A new database of the user ``gantry``: empty, or a copy of `template`, which must not be in use."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {self.settings.user}")
        return self.settings.model_copy(update={"database": name})

    def template(self, name: str, fill: Callable[[PostgresSettings], None]) -> str:
        """The name of a database that `fill` filled once in this session, for :meth:`fresh_database`.

        `fill` must close its connections.
        """
        if name not in self._templates:
            made = self.fresh_database()
            fill(made)
            self._templates[name] = made.database
        return self._templates[name]

    def drop(self, settings: PostgresSettings) -> None:
        """Drop a database, and cut off whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {settings.database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement as the superuser, outside a transaction."""
        with closing(connect(self.superuser)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


def connect(settings: PostgresSettings) -> psycopg2.extensions.connection:
    """A plain connection, for a test's own look at the tables."""
    return psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        dbname=settings.database,
        password=settings.password.get_secret_value() if settings.password else None,
    )


@pytest.fixture(scope="session")
def archive_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveLock]:
    """The lock of the folder that the session's servers run on."""
    with ArchiveLock(tmp_path_factory.mktemp("servers")) as lock:
        yield lock


@pytest.fixture(scope="session")
def postgres(archive_lock: ArchiveLock) -> Iterator[TestPostgres]:
    """The session's PostgreSQL."""
    server = EmbeddedPostgres(archive_lock, durable=False)
    server.start()
    yield TestPostgres(settings=server.settings, superuser=server.superuser)
    server.stop()


@pytest.fixture
def fresh_postgres(postgres: TestPostgres) -> Iterator[PostgresSettings]:
    """An empty database for this test alone."""
    settings = postgres.fresh_database()
    yield settings
    postgres.drop(settings)


@pytest.fixture(scope="session")
def redis_server(archive_lock: ArchiveLock) -> Iterator[EmbeddedRedis]:
    """The session's Redis; its `client_url` is for redis-py, its `settings.url` for Celery."""
    server = EmbeddedRedis(archive_lock)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(redis_server: EmbeddedRedis) -> RedisSettings:
    """How Celery reaches the session's Redis; what other tests left is in it."""
    return redis_server.settings


@pytest.fixture
def fresh_redis(redis_server: EmbeddedRedis) -> RedisSettings:
    """How Celery reaches the session's Redis, emptied for this test."""
    with closing(redis_client.Redis.from_url(redis_server.client_url)) as client:
        client.flushall()
    return redis_server.settings
