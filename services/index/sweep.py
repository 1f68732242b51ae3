"""The sweeper as a process: a plain loop that heals what a lost message has left behind (``gantry sweep``).

One process sweeps at a time: the one that holds a lock in PostgreSQL; the others stand by.
"""

from __future__ import annotations

import signal
import threading

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import open_store, prepare_store
from services.common.catalog.sweeping import PostgresSweeping
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.health import serve_health
from services.common.quarantine import StoreQuarantine
from services.index.settings import IndexSettings
from services.index.sweeper import Sweeper, sweep_in_turn


def main(settings: IndexSettings | None = None) -> None:
    """Sweep until SIGTERM."""
    settings = settings or IndexSettings()
    logs.configure(settings.log, "sweep")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    postgres = Postgres(settings.postgres)
    store = open_store(settings)
    bus = CeleryBus(settings.redis)
    sweeping = PostgresSweeping(postgres)
    sweeper = Sweeper(
        store=store,
        catalog=PostgresCatalogWriter(postgres),
        watermarks=sweeping,
        leftovers=sweeping,
        bus=bus,
        quarantine=StoreQuarantine(store),
        clear_uploads=lambda: prepare_store(settings),
        settings=settings.sweep,
        put=settings.store,
    )
    serve_health(
        settings.health, {"catalog": lambda: sweeping.watermark(""), "queue": lambda: bus.depth("index")}
    )
    sweep_in_turn(sweeper, lambda: postgres.session_lock("sweep"), stopped, settings.sweep.interval)


if __name__ == "__main__":
    main()
