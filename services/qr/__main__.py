"""The Q/R service: query and retrieve, and storage for associations that mix them."""

from __future__ import annotations

import socket
from functools import partial

from services.common import logs
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import open_store
from services.common.catalog.reader import PostgresCatalogReader
from services.common.dimse.handlers import Handlers
from services.common.dimse.pod import Composition, open_port, run_pod
from services.common.dimse.requestor import associate
from services.common.health import open_health
from services.common.keys import NODES_KEY
from services.common.model import Level
from services.common.nodes import StoredNodeRules
from services.common.pixels.converter import PoolConverter
from services.common.pixels.pool import CodecPool
from services.common.query import Query
from services.common.settings import CommonSettings
from services.ingest.__main__ import storage
from services.ingest.contexts import StorageContexts
from services.qr.contexts import QueryRetrieveContexts
from services.qr.handlers import FindHandler, RetrievalHandler


def compose(settings: CommonSettings) -> Composition:
    """The service in one process."""
    store = open_store(settings)
    nodes = StoredNodeRules(store)
    catalog = PostgresCatalogReader(Postgres(settings.postgres))
    pool = CodecPool()
    store_handler, close_storage = storage(settings, store, nodes)
    stored = StorageContexts(unknown_sop_classes=settings.dicom.accept_unknown_sop_classes)

    def close() -> None:
        close_storage()
        pool.close()

    return Composition(
        handlers=Handlers(
            store=store_handler,
            query=FindHandler(catalog, ae_title=settings.dicom.ae_title),
            retrieve=RetrievalHandler(
                catalog=catalog,
                store=store,
                converter=PoolConverter(store, pool),
                nodes=nodes,
                associate=partial(associate, own_aet=settings.dicom.ae_title),
            ),
        ),
        policy=QueryRetrieveContexts(stored, nodes),
        nodes=nodes,
        close=close,
    )


def main(settings: CommonSettings | None = None, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM."""
    settings = settings or CommonSettings()
    logs.configure(settings.log, "qr")
    store = open_store(settings)
    catalog = PostgresCatalogReader(Postgres(settings.postgres))
    health = open_health(
        settings.health,
        {
            "store": lambda: store.list(NODES_KEY, limit=1),
            "catalog": lambda: next(catalog.find(Query(level=Level.STUDY, limit=1)), None),
        },
    )
    listening = listening or open_port(settings.dicom)
    run_pod(settings.dicom, listening, lambda: compose(settings), health=health)


if __name__ == "__main__":
    main()
