"""``/healthz``, ``/readyz`` and ``/metrics``; under `gantry up` they answer for all its parts."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from services.api.dependencies import Here
from services.common.errors import Unavailable
from services.common.health import metrics, readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> PlainTextResponse:
    """Whether this process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(archive: Here) -> JSONResponse:
    """Whether everything that is needed to serve answers, and what does not."""
    is_ready, found = readiness(archive.checks)
    return JSONResponse(dict(found), HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/metrics")
def prometheus() -> Response:
    """What the processes count, in Prometheus' text format."""
    return Response(metrics(), media_type=CONTENT_TYPE_LATEST)


def check_parts(state: Path) -> None:
    """Whether every part that a supervisor looks after is up, by the file that it keeps.

    Raises:
        Unavailable: some are not, or the file cannot be read.
    """
    try:
        parts: dict[str, bool] = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise Unavailable("the supervisor has not said which parts are up") from exc
    if missing := [name for name, is_ready in parts.items() if not is_ready]:
        raise Unavailable(f"not up: {', '.join(missing)}")
