"""The ingest service: takes associations that store, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.stores import check_space, open_store
from services.common.dimse.handlers import Handlers, StoreHandler
from services.common.dimse.pod import Composition, open_port, run_pod
from services.common.health import open_health
from services.common.intake import Intake, Limits
from services.common.keys import NODES_KEY
from services.common.nodes import StoredNodeRules
from services.common.ports import BlobStore, NodeRules
from services.common.publisher import BatchingPublisher
from services.common.quarantine import StoreQuarantine
from services.common.settings import CommonSettings
from services.ingest.contexts import StorageContexts
from services.ingest.handlers import StorageHandler

CLOSE_SECONDS = 5.0


def storage(
    settings: CommonSettings, store: BlobStore, nodes: NodeRules
) -> tuple[StoreHandler, Callable[[], object]]:
    """The C-STORE handler, and what ends its publisher."""
    publisher = BatchingPublisher(CeleryBus(settings.redis))
    limits = Limits(
        longest_put_seconds=settings.store.longest_put_seconds,
        quarantine_bytes=settings.store.quarantine_limit_bytes,
    )
    intake = Intake(store, publisher, StoreQuarantine(store), limits=limits)
    return StorageHandler(intake, nodes), lambda: publisher.close(CLOSE_SECONDS)


def compose(settings: CommonSettings) -> Composition:
    """The service in one process."""
    store = open_store(settings)
    nodes = StoredNodeRules(store)
    handler, close = storage(settings, store, nodes)
    return Composition(
        handlers=Handlers(store=handler),
        policy=StorageContexts(unknown_sop_classes=settings.dicom.accept_unknown_sop_classes),
        nodes=nodes,
        close=close,
    )


def main(settings: CommonSettings | None = None, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM."""
    settings = settings or CommonSettings()
    logs.configure(settings.log, "ingest")
    store = open_store(settings)
    health = open_health(
        settings.health,
        {"store": lambda: store.list(NODES_KEY, limit=1), "space": lambda: check_space(settings)},
    )
    listening = listening or open_port(settings.dicom)
    run_pod(settings.dicom, listening, lambda: compose(settings), health=health)


if __name__ == "__main__":
    main()
