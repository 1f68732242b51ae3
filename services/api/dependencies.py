"""What the routes work with: one `Archive` per process, made by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from services.api.model_cache import ModelCache
from services.common.catalog.conflicts import Conflicts
from services.common.catalog.recent import Arrivals
from services.common.health import Check
from services.common.intake import Intake
from services.common.nodes import NodeRegistry
from services.common.pixels.pool import CodecPool
from services.common.ports import BlobStore, CatalogReader, Converter, EventBus, NodeRules, Quarantine
from services.common.settings import CommonSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Everything behind the HTTP edge."""

    settings: CommonSettings
    store: BlobStore
    catalog: CatalogReader
    arrivals: Arrivals
    conflicts: Conflicts
    intake: Intake
    nodes: NodeRules
    registry: NodeRegistry
    quarantine: Quarantine
    bus: EventBus
    pool: CodecPool
    converter: Converter
    checks: Mapping[str, Check]
    close: Callable[[], object]
    models: ModelCache = field(default_factory=ModelCache)


def _archive(request: Request) -> Archive:
    archive: Archive = request.app.state.archive
    return archive


Here = Annotated[Archive, Depends(_archive)]
"""A route's way to the archive."""
