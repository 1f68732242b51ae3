"""Make the generated parts of the documents anew; ``--check`` changes nothing and names what is stale."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs.generate import dependencies, dimse, metrics, settings, web
from docs.generate.tables import filled

DOCS = Path(__file__).resolve().parents[1]

BLOCKS: Mapping[str, Callable[[], str]] = {
    "associations": dimse.associations,
    "attributes": dimse.attributes,
    "character-sets": dimse.character_sets,
    "dependencies": dependencies.dependencies,
    "frame-media-types": web.frame_media_types,
    "http-statuses": web.statuses,
    "metrics": metrics.metrics,
    "qido-attributes": web.returned_attributes,
    "query-retrieve-classes": dimse.query_retrieve_classes,
    "routes": web.routes,
    "settings": settings.settings,
    "statuses": dimse.statuses,
    "storage-classes": dimse.storage_classes,
    "transfer-syntaxes": dimse.transfer_syntaxes,
}


def main(arguments: Sequence[str]) -> int:
    """Write what has changed, or only tell; gives the exit code, 1 where ``--check`` finds stale pages."""
    only_checks = "--check" in arguments
    stale = [page for page in sorted(DOCS.glob("*.md")) if _is_stale(page, write=not only_checks)]
    for page in stale:
        print(f"docs/{page.name} " + ("is stale: run make docs" if only_checks else "is up to date again"))
    return 1 if stale and only_checks else 0


def _is_stale(page: Path, *, write: bool) -> bool:
    old = page.read_text(encoding="utf-8")
    new = filled(old, BLOCKS)
    if write and new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
