"""A whole running archive for the tests: `gantry up` in a folder of its own, on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from tests.waiting import PATIENCE_SECONDS, wait_until

START_SECONDS = 240.0
_DICOM = re.compile(r"^  DICOM\s+.+ on \S+:(\d+)$", re.MULTILINE)
_WEB = re.compile(r"^  Web\s+(\S+)$", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Archive:
    """A running `gantry up`; `log` holds what it says and logs."""

    data_dir: Path
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    ae_title: str = "GANTRY"
    dicom_port: int = 0
    url: str = ""

    @property
    def peer(self) -> list[str]:
        """How a DCMTK client is told of the archive."""
        return ["-aec", self.ae_title, "127.0.0.1", str(self.dicom_port)]

    def wait_until_ready(self) -> None:
        """Until it says that it is ready.  Fails the test, with its log, where it does not."""
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            if "Gantry is ready." in said and (dicom := _DICOM.search(said)) and (web := _WEB.search(said)):
                self.dicom_port, self.url = int(dicom[1]), web[1].rstrip("/")
                return
            time.sleep(0.05)
        pytest.fail(f"the archive did not start:\n{self.said()[-4000:]}")

    def said(self) -> str:
        """All that it said and logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = (line for line in self.said().splitlines() if f'"event": "{name}"' in line)
        return [json.loads(line) for line in lines]

    def stop(self) -> int:
        """Stop it as Ctrl-C does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def processes(self, part: str) -> list[int]:
        """The pids of the processes whose command line holds `part`, of this archive alone, oldest first."""
        mark = f"GANTRY_DATA_DIR={self.data_dir}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            line = b" ".join(words).decode("utf-8", "replace")
            if part in line and (is_ours or str(self.data_dir) in line):
                found.append(int(folder.name))
        return sorted(found)

    def get(self, path: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Ask over HTTP: status, body and headers."""
        request = urllib.request.Request(
            self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def json(self, path: str) -> Any:
        """Ask over HTTP for JSON; None for an empty answer."""
        status, body, _ = self.get(path)
        assert status in (200, 204), (status, body[:500])
        return json.loads(body) if body else None

    def wait_for_instances(self, count: int, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Until the catalog holds so many instances."""
        wait_until(
            lambda: self.instances() >= count, seconds, lambda: f"{self.instances()} of {count} indexed"
        )

    def instances(self) -> int:
        """How many instances the catalog shows; 0 while it does not answer."""
        try:
            studies = self.json("/dicom-web/studies") or []
        except (URLError, ConnectionError, AssertionError):
            return 0
        return sum(study["00201208"]["Value"][0] for study in studies)


def start_archive(folder: Path, **settings: str) -> Archive:
    """Start an archive whose data lies in `folder`; `settings` are environment variables."""
    data_dir = folder / "data"
    log = folder / "archive.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GANTRY_")}
    environment |= {
        "GANTRY_DATA_DIR": str(data_dir),
        "GANTRY_DICOM__PORT": "0",
        "GANTRY_HTTP__PORT": "0",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    archive = Archive(data_dir=data_dir, log=log, environment=environment, process=process)
    archive.wait_until_ready()
    return archive


def end(archive: Archive) -> None:
    """End an archive, whatever state a test has left it in."""
    if archive.process.poll() is None:
        archive.process.send_signal(signal.SIGTERM)
        try:
            archive.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            archive.process.kill()
            archive.process.wait()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """The archive that all tests of a session share; they store under UIDs of their own."""
    running = start_archive(tmp_path_factory.mktemp("archive"))
    yield running
    end(running)


@pytest.fixture
def fresh_archive(tmp_path: Path) -> Iterator[Archive]:
    """An empty archive for this test alone, which may break it."""
    running = start_archive(tmp_path)
    yield running
    end(running)
