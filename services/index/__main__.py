"""The index service: fills the catalog from the queue ``index``."""

from __future__ import annotations

import sys

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.celery_worker import INDEX_LIMITS, run_worker, worker_app
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import open_store
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.health import serve_health
from services.common.quarantine import StoreQuarantine
from services.index.settings import IndexSettings
from services.index.tasks import tasks


def main(settings: IndexSettings | None = None) -> None:
    """Take messages until SIGTERM."""
    settings = settings or IndexSettings()
    logs.configure(settings.log, "index")
    store = open_store(settings)
    bus = CeleryBus(settings.redis)
    catalog = PostgresCatalogWriter(Postgres(settings.postgres))
    its_tasks = tasks(
        store=store,
        catalog=catalog,
        attempts=catalog,
        quarantine=StoreQuarantine(store),
        bus=bus,
    )
    app = worker_app("index", settings.redis, INDEX_LIMITS, its_tasks)
    serve_health(
        settings.health, {"catalog": lambda: catalog.missing(()), "queue": lambda: bus.depth("index")}
    )
    sys.exit(run_worker(app, bus, INDEX_LIMITS, settings.index.processes))


if __name__ == "__main__":
    main()
