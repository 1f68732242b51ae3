"""Services as processes of their own for the tests, each started as an operator's machine starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from services.common.settings import PostgresSettings, RedisSettings, S3Settings
from tests.servers import connect
from tests.servers_s3 import free_port
from tests.waiting import wait_until

START_SECONDS = 240.0
GRACE_SECONDS = 120.0
DRAIN_SECONDS = 240
"""How long a pod that is told to end serves peers that go on; tests that want it shorter say so."""


class Pod:
    """One service as a process; `port` is its DICOM or HTTP port, `health_port` that of its probes."""

    def __init__(self, command: str, log: Path, environment: Mapping[str, str]) -> None:
        self.command = command
        self.log = log
        self.port = free_port()
        self.health_port = self.port if command == "api" else free_port()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", command],
                env={
                    **environment,
                    "GANTRY_DICOM__PORT": str(self.port),
                    "GANTRY_HTTP__PORT": str(self.port),
                    "GANTRY_HEALTH__PORT": str(self.health_port),
                },
                stdout=output,
                stderr=output,
            )

    def probe(self, path: str) -> tuple[int, str]:
        """What a probe is answered: status and body; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (URLError, ConnectionError, TimeoutError):
            return 0, ""

    def wait_until_ready(self) -> None:
        """Until its readiness probe passes."""
        self.wait_for_probe("/readyz")

    def wait_for_probe(self, path: str) -> None:
        """Until the probe is answered 200; fails the test, with the log, where it is not."""
        wait_until(
            lambda: self.process.poll() is not None or self.probe(path)[0] == 200,
            START_SECONDS,
            lambda: f"{self.command}: {self.probe(path)}\n{self.said()[-4000:]}",
        )
        assert self.process.poll() is None, self.said()[-4000:]

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it has ended; its exit status.  Fails the test where it takes longer than it may."""
        try:
            return self.process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} does not end:\n{self.said()[-4000:]}") from None

    def said(self) -> str:
        """All that it said and logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def json(self, path: str) -> Any:
        """Ask an API pod for JSON; None for an empty answer."""
        status, body = self.probe(path)
        assert status in (200, 204), (status, body[:500])
        return json.loads(body) if body else None


class Fleet:
    """Pods on the same servers."""

    def __init__(
        self,
        folder: Path,
        *,
        postgres: PostgresSettings,
        redis: RedisSettings,
        s3: S3Settings | None = None,
        **settings: str,
    ) -> None:
        """Without `s3` the blobs lie in a folder; `settings` are environment variables of every pod."""
        self.folder = folder
        self.pods: list[Pod] = []
        self._postgres = postgres
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("GANTRY_")}
        self.environment |= {
            "GANTRY_DATA_DIR": str(folder / "data"),
            "GANTRY_POSTGRES__HOST": postgres.host,
            "GANTRY_POSTGRES__PORT": str(postgres.port),
            "GANTRY_POSTGRES__USER": postgres.user,
            "GANTRY_POSTGRES__DATABASE": postgres.database,
            "GANTRY_REDIS__URL": redis.url.get_secret_value(),
            "GANTRY_DICOM__DRAIN_SECONDS": str(DRAIN_SECONDS),
            "GANTRY_INDEX__PROCESSES": "1",
            "GANTRY_TRANSCODE__PROCESSES": "1",
            "GANTRY_SWEEP__INTERVAL": "1",
            "GANTRY_SWEEP__YOUNGEST": "5",
            **settings,
        }
        if s3 is not None:
            assert s3.endpoint and s3.access_key and s3.secret_key
            self.environment |= {
                "GANTRY_STORE__KIND": "s3",
                "GANTRY_S3__ENDPOINT": s3.endpoint,
                "GANTRY_S3__BUCKET": s3.bucket,
                "GANTRY_S3__ACCESS_KEY": s3.access_key.get_secret_value(),
                "GANTRY_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
            }

    def run(self, *arguments: str) -> str:
        """Run ``gantry`` with these arguments to its end; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=GRACE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, command: str, **settings: str) -> Pod:
        """Start one more pod; it may not be ready yet."""
        log = self.folder / f"{len(self.pods)}-{command}.log"
        self.pods.append(Pod(command, log, self.environment | settings))
        return self.pods[-1]

    def instances(self, api: Pod) -> int:
        """How many instances the catalog shows through `api`; 0 while it does not answer."""
        status, body = api.probe("/dicom-web/studies")
        studies = json.loads(body) if status == 200 else []
        return sum(study["00201208"]["Value"][0] for study in studies)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that the database answers a statement with."""
        with closing(connect(self._postgres)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def end(self) -> None:
        """End every pod, whatever state a test has left it in."""
        running = [pod for pod in self.pods if pod.process.poll() is None]
        for pod in running:
            pod.terminate()
        for pod in running:
            try:
                pod.process.wait(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                pod.process.kill()
                pod.process.wait()
