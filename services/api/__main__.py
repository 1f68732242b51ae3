"""The API service: DICOMweb, WADO-URI, admin REST and pages."""

from __future__ import annotations

import signal
import socket
import sys
from functools import partial

import uvicorn

from services.api.app import create_app
from services.api.connections import ConnectionLimits, limited
from services.api.dependencies import Archive
from services.api.guard import check_listener
from services.api.health import check_parts
from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import check_space, open_store
from services.common.catalog.conflicts import PostgresConflicts
from services.common.catalog.reader import PostgresCatalogReader
from services.common.catalog.recent import PostgresArrivals
from services.common.dimse.listener import bind
from services.common.errors import Unavailable
from services.common.health import Check
from services.common.intake import Intake, Limits
from services.common.journal import StoreJournal
from services.common.model import Level
from services.common.nodes import NodeRegistry, StoredNodeRules
from services.common.pixels.converter import PoolConverter
from services.common.pixels.pool import CodecPool
from services.common.publisher import BatchingPublisher
from services.common.quarantine import StoreQuarantine
from services.common.query import Query
from services.common.settings import CommonSettings, HttpSettings

CLOSE_SECONDS = 5.0
GRACE_SECONDS = 20


def compose(settings: CommonSettings) -> Archive:
    """The service behind its HTTP edge."""
    store = open_store(settings)
    nodes = StoredNodeRules(store)
    bus = CeleryBus(settings.redis)
    publisher = BatchingPublisher(bus)
    quarantine = StoreQuarantine(store)
    pool = CodecPool()
    limits = Limits(
        longest_put_seconds=settings.store.longest_put_seconds,
        quarantine_bytes=settings.store.quarantine_limit_bytes,
    )

    def close() -> None:
        publisher.close(CLOSE_SECONDS)
        pool.close()

    postgres = Postgres(settings.postgres)
    catalog = PostgresCatalogReader(postgres)
    checks: dict[str, Check] = {
        "store": lambda: store.list("config/", limit=1),
        "space": lambda: check_space(settings),
        "catalog": lambda: next(catalog.find(Query(level=Level.STUDY, limit=1)), None),
        "queue": lambda: bus.depth("index"),
    }
    if settings.parts_file:
        checks["parts"] = partial(check_parts, settings.parts_file)
    return Archive(
        settings=settings,
        store=store,
        catalog=catalog,
        arrivals=PostgresArrivals(postgres),
        conflicts=PostgresConflicts(postgres),
        checks=checks,
        intake=Intake(store, publisher, quarantine, limits=limits),
        nodes=nodes,
        registry=NodeRegistry(store, StoreJournal(store), on_change=nodes.refresh),
        quarantine=quarantine,
        bus=bus,
        pool=pool,
        converter=PoolConverter(store, pool),
        close=close,
    )


def main(settings: CommonSettings | None = None, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM.

    Raises:
        NotGuarded: the listener would be reachable beyond this machine without authentication.
        Unavailable: the port is taken.
    """
    settings = settings or CommonSettings()
    check_listener(settings.http)
    logs.configure(settings.log, "api")
    # uvicorn raises the signal that ended it once more, when it has ended well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(compose(settings)),
        host=settings.http.host,
        port=settings.http.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=limited(_limits(settings.http)),
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening or _listen(settings.http)])


def _limits(settings: HttpSettings) -> ConnectionLimits:
    return ConnectionLimits(
        head_seconds=settings.head_timeout_seconds,
        silent_seconds=settings.network_timeout_seconds,
        open_connections=settings.maximum_connections,
    )


def _listen(settings: HttpSettings) -> socket.socket:
    try:
        return bind(settings.host, settings.port)
    except OSError as exc:
        raise Unavailable(f"HTTP cannot listen on {settings.host}:{settings.port}: {exc.strerror}") from exc


if __name__ == "__main__":
    main()
