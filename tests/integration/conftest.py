"""What several integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.adapters.postgres import Postgres
from services.common.catalog.migrate import migrate
from services.common.settings import PostgresSettings
from tests.servers import TestPostgres


def _migrate(settings: PostgresSettings) -> None:
    postgres = Postgres(settings)
    migrate(postgres)
    postgres.close()


@pytest.fixture
def catalog_settings(postgres: TestPostgres) -> Iterator[PostgresSettings]:
    """A database with an empty catalog, for this test alone."""
    settings = postgres.fresh_database(postgres.template("catalog", _migrate))
    yield settings
    postgres.drop(settings)


@pytest.fixture
def catalog(catalog_settings: PostgresSettings) -> Iterator[Postgres]:
    """An empty catalog, for this test alone."""
    postgres = Postgres(catalog_settings)
    yield postgres
    postgres.close()
