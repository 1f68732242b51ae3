"""The transcode service: makes renditions and thumbnails from the queue ``transcode``."""

from __future__ import annotations

import sys

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.celery_worker import TRANSCODE_LIMITS, run_worker, worker_app
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import open_store
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.health import serve_health
from services.common.pixels.pool import CodecPool, Limits
from services.common.quarantine import StoreQuarantine
from services.transcode.settings import TranscodeSettings
from services.transcode.tasks import tasks


def main(settings: TranscodeSettings | None = None) -> None:
    """Take messages until SIGTERM."""
    settings = settings or TranscodeSettings()
    logs.configure(settings.log, "transcode")
    store = open_store(settings)
    bus = CeleryBus(settings.redis)
    catalog = PostgresCatalogWriter(Postgres(settings.postgres))
    its_tasks = tasks(
        store=store,
        catalog=catalog,
        pool=CodecPool(Limits(processes=1)),  # in each worker process, which has one message at a time
        attempts=catalog,
        quarantine=StoreQuarantine(store),
        bus=bus,
    )
    app = worker_app("transcode", settings.redis, TRANSCODE_LIMITS, its_tasks)
    serve_health(
        settings.health, {"catalog": lambda: catalog.missing(()), "queue": lambda: bus.depth("transcode")}
    )
    workers = settings.transcode
    sys.exit(run_worker(app, bus, TRANSCODE_LIMITS, workers.at_work, niceness=workers.niceness))


if __name__ == "__main__":
    main()
