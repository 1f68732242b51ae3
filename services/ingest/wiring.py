"""What the import and quarantine commands are made of: an intake of their own beside the services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import open_store
from services.common.catalog.reader import PostgresCatalogReader
from services.common.intake import Intake
from services.common.intake.retry import retry
from services.common.publisher import BatchingPublisher
from services.common.quarantine import StoreQuarantine
from services.common.settings import CommonSettings
from services.ingest.importing import KnownOriginals

PUBLISH_SECONDS = 10.0


@contextmanager
def importing(settings: CommonSettings) -> Iterator[tuple[Intake, KnownOriginals]]:
    """An intake, and the catalog that tells what is here already."""
    store = open_store(settings)
    publisher = BatchingPublisher(CeleryBus(settings.redis))
    try:
        yield (
            Intake(store, publisher, StoreQuarantine(store)),
            PostgresCatalogReader(Postgres(settings.postgres)),
        )
    finally:
        publisher.close(PUBLISH_SECONDS)


@contextmanager
def retrying(settings: CommonSettings) -> Iterator[Callable[[str], str]]:
    """Takes in again what an entry of the quarantine holds."""
    store = open_store(settings)
    bus = CeleryBus(settings.redis)
    publisher = BatchingPublisher(bus)
    quarantine = StoreQuarantine(store)
    intake = Intake(store, publisher, quarantine)
    try:
        yield lambda entry_id: retry(entry_id, intake=intake, store=store, bus=bus, quarantine=quarantine)
    finally:
        publisher.close(PUBLISH_SECONDS)
