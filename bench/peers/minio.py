"""A MinIO server on this machine, for the rows that store to S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench import tools
from bench.processes import free_port, running

_USER = "gantry-bench"
_PASSWORD = "gantry-bench-secret"


@contextmanager
def minio(folder: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Its pid, and the settings with which Gantry stores there."""
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    endpoint = f"http://{address}"
    environment = {
        "MINIO_ROOT_USER": _USER,
        "MINIO_ROOT_PASSWORD": _PASSWORD,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    argv = [tools.path("minio"), "server", "--quiet", "--address", address, str(folder / "data")]
    ready = partial(_answers, endpoint)
    with running(argv, log=folder / "minio.log", ready=ready, environment=environment) as process:
        yield (
            process.pid,
            {
                "GANTRY_STORE__KIND": "s3",
                "GANTRY_S3__ENDPOINT": endpoint,
                "GANTRY_S3__BUCKET": "bench",
                "GANTRY_S3__ACCESS_KEY": _USER,
                "GANTRY_S3__SECRET_KEY": _PASSWORD,
            },
        )


def _answers(endpoint: str) -> bool:
    try:
        with urlopen(f"{endpoint}/minio/health/cluster", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
