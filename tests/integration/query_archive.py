"""An archive in this process whose catalog, store and codecs are real, and viewers and nodes to ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.common.adapters.files import FolderStore
from services.common.adapters.postgres import Postgres
from services.common.catalog.reader import PostgresCatalogReader
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.dimse.handlers import Handlers
from services.common.dimse.negotiation import Acceptance, AssociationInfo, RequestedContext
from services.common.dimse.requestor import associate
from services.common.events import InstancesIndexed
from services.common.intake import Intake
from services.common.model import Node, Route, Source, StoredInstance
from services.common.pixels.converter import PoolConverter
from services.common.pixels.pool import CodecPool
from services.index.extract import extract
from services.ingest.contexts import StorageContexts
from services.qr.contexts import QueryRetrieveContexts
from services.qr.handlers import FindHandler, RetrievalHandler
from services.transcode.handler import transcode
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.publisher import RememberingPublisher


@dataclass
class KnownNodes:
    """Nodes that a test adds as it goes."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def find(self, aet: str) -> Node | None:
        return self.nodes.get(aet.strip())

    def all(self) -> Sequence[Node]:
        return list(self.nodes.values())


@dataclass
class TakesOnly:
    """A node that takes these transfer syntaxes, whatever else is proposed, of all but some SOP classes."""

    transfer_syntaxes: tuple[str, ...]
    refused: frozenset[str] = frozenset()

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        return [
            None
            if context.abstract_syntax in self.refused
            or not set(context.transfer_syntaxes) & set(self.transfer_syntaxes)
            else Acceptance(transfer_syntaxes=self.transfer_syntaxes)
            for context in requested
        ]


class QueryArchive:
    """Takes files in, and is asked over DIMSE on `port`."""

    def __init__(self, folder: Path, postgres: Postgres, pool: CodecPool) -> None:
        self.store = FolderStore(folder / "blobs")
        self.catalog = PostgresCatalogReader(postgres)
        self.nodes = KnownNodes()
        self.taken: dict[str, StoredInstance] = {}
        self.port = 0
        self._writer = PostgresCatalogWriter(postgres)
        self._pool = pool
        self._lock = threading.Lock()

    def take(self, files: Sequence[Path], *, renditions: bool = False) -> None:
        """Store and index files, and make what transcode would make of them."""
        publisher = RememberingPublisher()
        intake = Intake(self.store, publisher, MemoryQuarantine())
        for path in files:
            with path.open("rb") as stream:
                stored = intake.accept_file(
                    stream, Source(route=Route.IMPORT, calling_aet="TEST", called_aet="GANTRY")
                )
            self.taken[stored.key.sop_instance_uid] = stored
        indexed = self._writer.upsert([extract(stored) for stored in publisher.offered])
        if renditions:
            transcode(InstancesIndexed(instances=tuple(indexed)), self.store, self._writer, self._pool)

    def data_set(self, sop_instance_uid: str) -> bytes:
        """The bytes of an original as they were taken."""
        stored = self.taken[sop_instance_uid]
        with self.store.open(stored.data_set) as stream:
            return stream.read() or b""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Listen on a free port."""
        handlers = Handlers(
            query=FindHandler(self.catalog, ae_title="GANTRY"),
            retrieve=RetrievalHandler(
                catalog=self.catalog,
                store=self.store,
                converter=PoolConverter(self.store, self._pool),
                nodes=self.nodes,
                associate=partial(associate, own_aet="GANTRY"),
            ),
        )
        policy = QueryRetrieveContexts(StorageContexts(unknown_sop_classes=True), self.nodes)
        with listening(handlers, policy=policy) as running:
            self.port = running.port
            yield

    @contextmanager
    def node(
        self,
        aet: str,
        policy: object = None,
        *,
        syntaxes: tuple[str, ...] = (),
        receiver: MemoryArchive | None = None,
    ) -> Iterator[MemoryArchive]:
        """A known node that keeps what it is sent."""
        receiver = receiver or MemoryArchive()
        with listening(receiver.handlers, policy=policy) as running:
            self.nodes.nodes[aet] = Node(
                aet=aet, host="127.0.0.1", port=running.port, transfer_syntax_uids=syntaxes
            )
            yield receiver
