"""What the documents say of HTTP: routes, media types, statuses, attributes that a search returns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from docs.generate.tables import code, table
from services.api import problems
from services.api.app import create_app
from services.api.dependencies import Archive
from services.api.dicomweb import frame_forms
from services.api.dicomweb.search import parse
from services.common.errors import (
    BlobMissing,
    GantryError,
    InvalidInstance,
    InvalidQuery,
    NotAcceptable,
    NotFound,
    Unavailable,
    UnknownNode,
)
from services.common.model import Level
from services.common.settings import CommonSettings

_KINDS: dict[type[GantryError], str] = {
    InvalidQuery: "a parameter or a body that cannot be understood",
    InvalidInstance: "an instance that cannot be read",
    NotFound: "there is no such study, series, instance or entry",
    UnknownNode: "no node of that AE title",
    NotAcceptable: "no form that the client accepts",
    BlobMissing: "the object store lacks what the catalog names: an alarm",
    Unavailable: "a backing service does not answer",
}
_PATHS = {Level.STUDY: "/studies", Level.SERIES: "/series", Level.IMAGE: "/instances"}


def routes() -> str:
    """Every route of the application but the pages."""
    # The application asks its archive for settings alone until a request comes.
    settings = CommonSettings.model_construct()
    described = create_app(cast(Archive, SimpleNamespace(settings=settings))).openapi()
    paths: dict[str, dict[str, Any]] = described["paths"]
    return table(
        ("request", "what it does"),
        [
            (code(f"{method.upper()} {path}"), route["description"].splitlines()[0])
            for path, methods in sorted(paths.items())
            for method, route in sorted(methods.items())
        ],
    )


def frame_media_types() -> str:
    """The media type of a frame by the transfer syntax of its instance."""
    by_type: dict[str, list[str]] = {}
    for uid, media_type in frame_forms.MEDIA_TYPES.items():
        by_type.setdefault(media_type, []).append(uid)
    rows = [(code(media_type), ", ".join(map(code, uids))) for media_type, uids in by_type.items()]
    rows.append((code(frame_forms.OCTETS), "every other one, and decoded frames"))
    return table(("media type", "transfer syntaxes"), rows)


def statuses() -> str:
    """The HTTP status that each kind of error becomes."""
    rows = [(problems.status_of(kind("")), why) for kind, why in _KINDS.items()]
    return table(
        ("status", "why"), [(f"{status.value} {status.phrase}", why) for status, why in sorted(rows)]
    )


def returned_attributes() -> str:
    """What a search returns at each level without being asked."""
    rows = []
    for level, path in _PATHS.items():
        columns = parse(level, {}, []).columns
        own = [attribute.keyword for attribute in columns]
        above = [] if level is Level.STUDY else [a.keyword for a in parse(Level(level - 1), {}, []).columns]
        rows.append((code(path), ", ".join(keyword for keyword in own if keyword not in above)))
    return table(("search", "attributes"), rows)
