"""S3 servers for tests: a MinIO of one's own, or whatever ``GANTRY_TEST_S3_ENDPOINT`` names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from pydantic import SecretStr

from services.common.settings import S3Settings
from tests.waiting import PATIENCE_SECONDS

_USER = "gantry-test"
_PASSWORD = "gantry-test-secret"


class MinioServer:
    """A MinIO process on a port of its own; it may be stopped and started again, with its data."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def settings(self, bucket: str) -> S3Settings:
        """Settings for a bucket of this server."""
        return _settings(self.endpoint, bucket, _USER, _PASSWORD)

    def start(self) -> None:
        """Start the server and wait until it serves."""
        environment = {
            **os.environ,
            "MINIO_ROOT_USER": _USER,
            "MINIO_ROOT_PASSWORD": _PASSWORD,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        address = f"127.0.0.1:{self._port}"
        with (self._folder / "minio.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "server", "--quiet", "--address", address, self._folder / "data"],
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._is_live():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"MinIO did not start:\n{(self._folder / 'minio.log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill the server at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _is_live(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/minio/health/cluster", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@pytest.fixture(scope="session")
def _shared_minio(
    tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MinioServer]:
    yield from _running(tool("minio"), tmp_path_factory.mktemp("minio"))


@pytest.fixture
def minio(tool: Callable[[str], Path], tmp_path: Path) -> Iterator[MinioServer]:
    """A MinIO server that the test may stop."""
    yield from _running(tool("minio"), tmp_path)


@pytest.fixture
def s3_settings(request: pytest.FixtureRequest) -> S3Settings:
    """Settings for a bucket that does not exist yet, on a server that other tests use too."""
    bucket = f"gantry-{uuid.uuid4().hex[:16]}"
    endpoint = os.environ.get("GANTRY_TEST_S3_ENDPOINT")
    if endpoint is None:
        server: MinioServer = request.getfixturevalue("_shared_minio")
        return server.settings(bucket)
    access_key = os.environ["GANTRY_TEST_S3_ACCESS_KEY"]
    return _settings(endpoint, bucket, access_key, os.environ["GANTRY_TEST_S3_SECRET_KEY"])


def _running(program: Path, folder: Path) -> Iterator[MinioServer]:
    server = MinioServer(program, folder)
    server.start()
    yield server
    server.stop()


def _settings(endpoint: str, bucket: str, access_key: str, secret_key: str) -> S3Settings:
    return S3Settings(
        endpoint=endpoint,
        bucket=bucket,
        access_key=SecretStr(access_key),
        secret_key=SecretStr(secret_key),
        part_bytes=5 * 2**20,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    """Whether anybody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
