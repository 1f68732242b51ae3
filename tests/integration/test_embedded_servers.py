"""The embedded PostgreSQL and Redis, as services and tests meet them."""

from __future__ import annotations

from contextlib import closing

import kombu
import pytest
import redis as redis_client

from services.common.settings import PostgresSettings, RedisSettings
from services.embedded.redis import EmbeddedRedis
from tests.servers import TestPostgres, connect
from tests.waiting import PATIENCE_SECONDS


def _ask(settings: PostgresSettings, question: str) -> tuple[object, ...]:
    with closing(connect(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
        assert row
        return row


def test_postgres_18_speaks_utf8_in_c_locale_and_never_tcp(postgres: TestPostgres) -> None:
    answer = _ask(
        postgres.settings,
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'),"
        " datcollate, current_setting('listen_addresses'), current_user, usesuper"
        " FROM pg_database, pg_user WHERE datname = current_database() AND usename = current_user",
    )
    assert answer == (18, "UTF8", "C", "", "gantry", False)


def test_fresh_databases_know_nothing_of_each_other(postgres: TestPostgres) -> None:
    databases = [postgres.fresh_database(), postgres.fresh_database()]
    for settings in databases:
        with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE mine (a int)")
    for settings in databases:
        postgres.drop(settings)


def test_a_template_is_filled_once_and_copied(postgres: TestPostgres) -> None:
    filled: list[str] = []

    def fill(settings: PostgresSettings) -> None:
        filled.append(settings.database)
        with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t AS SELECT 7 AS a")

    for _ in range(2):
        copy = postgres.fresh_database(postgres.template("sevens", fill))
        assert _ask(copy, "SELECT a FROM t") == (7,)
        postgres.drop(copy)
    assert len(filled) == 1


def test_redis_keeps_what_it_cannot_lose_and_never_speaks_tcp(redis_server: EmbeddedRedis) -> None:
    with closing(redis_client.Redis.from_url(redis_server.client_url)) as client:
        settings = client.config_get("port", "appendonly", "maxmemory-policy", "unixsocketperm")
    assert settings == {
        "port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction", "unixsocketperm": "700"
    }  # fmt: skip


@pytest.mark.parametrize("number", [0, 3])
def test_kombu_reaches_every_key_space_through_the_settings_url(
    fresh_redis: RedisSettings, redis_server: EmbeddedRedis, number: int
) -> None:
    url = fresh_redis.url.get_secret_value().replace("virtual_host=0", f"virtual_host={number}")
    with kombu.Connection(url) as connection, closing(connection.SimpleQueue("hello")) as queue:
        queue.put({"a": number})
        raw = redis_server.client_url.replace("db=0", f"db={number}")
        with closing(redis_client.Redis.from_url(raw)) as client:
            assert client.llen("hello") == 1
        message = queue.get(timeout=PATIENCE_SECONDS)
        assert message.payload == {"a": number}
        message.ack()
