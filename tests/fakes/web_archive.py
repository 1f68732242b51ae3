"""The pages and the admin's REST on an archive in memory, and a client of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
from fastapi import FastAPI

from services.api import problems
from services.api.admin import routes
from services.api.dependencies import Archive
from services.api.guard import Guard
from services.common.catalog.conflicts import Conflict, ConflictKind
from services.common.catalog.recent import ArrivedStudy
from services.common.intake import Intake
from services.common.journal import StoreJournal
from services.common.nodes import NodeRegistry, StoredNodeRules
from services.common.settings import CommonSettings
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore
from tests.fakes.publisher import RememberingPublisher
from tests.fakes.scripted_catalog import ScriptedCatalog


class MemoryArrivals:
    """Gives `studies`."""

    def __init__(self) -> None:
        self.studies: list[ArrivedStudy] = []

    def latest(self, limit: int) -> Sequence[ArrivedStudy]:
        return self.studies[:limit]


class MemoryConflicts:
    """Gives `found`."""

    def __init__(self) -> None:
        self.found: list[Conflict] = []

    def counts(self) -> Mapping[ConflictKind, int]:
        return {kind: len(self._of(kind)) for kind in ConflictKind}

    def of_kind(self, kind: ConflictKind, *, after: str = "", limit: int) -> Sequence[Conflict]:
        return [one for one in self._of(kind) if one.subject > after][:limit]

    def _of(self, kind: ConflictKind) -> list[Conflict]:
        return [one for one in self.found if one.kind is kind]


class WebArchive:
    """Asks the routes of `services.api.admin` behind the guard, without a socket."""

    def __init__(self, *, viewer_dir: Path | None = None, **http: object) -> None:
        self.store = MemoryStore()
        self.quarantine = MemoryQuarantine()
        self.catalog = ScriptedCatalog()
        self.arrivals = MemoryArrivals()
        self.conflicts = MemoryConflicts()
        settings = CommonSettings.model_validate(
            {"http": {"viewer_dir": viewer_dir or Path("/nowhere"), **http}, "dicom": {"port": 4711}}
        )
        nodes = StoredNodeRules(self.store)
        absent = cast(Any, None)
        app = FastAPI(docs_url=None, redoc_url=None)
        app.state.archive = Archive(
            settings=settings,
            store=self.store,
            catalog=self.catalog,
            arrivals=self.arrivals,
            conflicts=self.conflicts,
            intake=Intake(self.store, RememberingPublisher(), self.quarantine),
            nodes=nodes,
            registry=NodeRegistry(self.store, StoreJournal(self.store), on_change=nodes.refresh),
            quarantine=self.quarantine,
            bus=MemoryBus(),
            pool=absent,
            converter=absent,
            checks={},
            close=lambda: None,
        )
        problems.install(app)
        routes.install(app, settings.http)
        self._guarded = problems.PlainErrors(Guard(app, settings.http))

    def ask(self, method: str, path: str, *, base: str = "http://127.0.0.1", **what: Any) -> httpx.Response:
        """One request; what `httpx` takes goes with it."""
        return asyncio.run(self._ask(method, path, base, what))

    def get(self, path: str, **what: Any) -> httpx.Response:
        """Ask for a page, as a browser does."""
        headers = {"Accept": "text/html", **what.pop("headers", {})}
        return self.ask("GET", path, headers=headers, **what)

    async def _ask(self, method: str, path: str, base: str, what: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._guarded)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, **what)
