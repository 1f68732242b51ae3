"""Gantry: `gantry up` with default settings and every service on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.request import Request, urlopen

from bench import multipart
from bench.clients import DESTINATION, Called, instance_url
from bench.cpu import command_line, descendants, tree
from bench.errors import NotStarted
from bench.material import Image
from bench.peers.minio import minio
from bench.peers.peer import Server
from bench.processes import running

_DICOM = re.compile(r"^  DICOM\s+\S+ on \S+:(\d+)$", re.MULTILINE)
_WEB = re.compile(r"^  Web\s+(\S+)$", re.MULTILINE)
_TRANSCODE = re.compile(r"services\.cli\S* transcode\b")
_HEEDED_SECONDS = 0.3
"""Until the supervisor has seen the signal, and starts nothing again."""
_GANTRY = str(Path(sys.executable).parent / "gantry")


@dataclass(frozen=True, slots=True)
class Gantry:
    """`gantry up`, storing to a folder or to a MinIO of its own.

    Without transcoding, the processes of the transcode service are stopped (SIGSTOP) once they have started;
    everything else is as it always is.
    """

    transcodes: bool = True
    on_minio: bool = False
    answers_queries: bool = True

    @property
    def key(self) -> str:
        """``gantry``, with what differs."""
        return "gantry" + ("-minio" if self.on_minio else "") + ("" if self.transcodes else "-paused")

    @property
    def title(self) -> str:
        """Its name, with what differs."""
        store = " on MinIO" if self.on_minio else ""
        return f"Gantry{store}" + ("" if self.transcodes else ", no transcoding")

    @property
    def durability(self) -> str:
        """What is safe when it acknowledges."""
        return "object confirmed by MinIO" if self.on_minio else "file and folder fsynced"

    @property
    def needs(self) -> tuple[str, ...]:
        """MinIO, where it stores there."""
        return ("minio",) if self.on_minio else ()

    def version(self) -> str:
        """Its version."""
        return version("gantry")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder."""
        with ExitStack() as stack:
            roots: list[int] = []
            settings = _settings(folder)
            if self.on_minio:
                pid, s3 = stack.enter_context(minio(folder / "minio"))
                roots.append(pid)
                settings |= s3
            log = folder / "gantry.log"
            argv = [_GANTRY, "up"]
            ready = partial(_is_ready, log)
            up = stack.enter_context(
                running(argv, log=log, ready=ready, environment=settings, stop_signal=signal.SIGINT)
            )
            dicom, web = _addresses(log)
            if destination_port:
                _add_node(settings, destination_port)
            if not self.transcodes:
                _stop_transcoding(up.pid)
            dicomweb = f"{web}/dicom-web"
            try:
                yield Server(
                    called=Called(ae_title="GANTRY", port=dicom),
                    roots=(*roots, up.pid),
                    part10=partial(_part10, dicomweb),
                    dicomweb=dicomweb,
                )
            finally:
                _end_transcoding(up)


def _settings(folder: Path) -> dict[str, str]:
    """Where it keeps its data, and free ports: all that differs from the defaults."""
    if given := sorted(name for name in os.environ if name.startswith("GANTRY_") and "_TEST_" not in name):
        raise NotStarted(f"the benchmark measures default settings: unset {', '.join(given)}")
    return {
        "GANTRY_DATA_DIR": str(folder / "data"),
        "GANTRY_DICOM__PORT": "0",
        "GANTRY_HTTP__PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _is_ready(log: Path) -> bool:
    return "Gantry is ready." in log.read_text("utf-8", "replace")


def _addresses(log: Path) -> tuple[int, str]:
    said = log.read_text("utf-8", "replace")
    dicom, web = _DICOM.search(said), _WEB.search(said)
    if dicom is None or web is None:
        raise NotStarted("gantry does not say where it listens")
    return int(dicom[1]), web[1].rstrip("/")


def _add_node(settings: Mapping[str, str], port: int) -> None:
    command = [_GANTRY, "nodes", "add", DESTINATION, "127.0.0.1", str(port)]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, timeout=60)


def _transcoding(up: int) -> list[int]:
    """The pids of the transcode service, whose codec processes are below it."""
    processes = tree((up,))
    heads = [process.pid for process in processes if _TRANSCODE.search(command_line(process.pid))]
    return [process.pid for process in descendants(processes, heads)]


def _stop_transcoding(up: int) -> None:
    pids = _transcoding(up)
    if not pids:
        raise NotStarted("the transcode service is not to be found")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def _end_transcoding(up: subprocess.Popen[bytes]) -> None:
    """Have the archive stop, and kill what would first finish a queue that is thrown away with its data."""
    up.send_signal(signal.SIGINT)
    time.sleep(_HEEDED_SECONDS)
    for pid in _transcoding(up.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _part10(dicomweb: str, image: Image) -> bytes:
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with urlopen(Request(instance_url(dicomweb, image), headers={"Accept": accept}), timeout=60) as answer:
        return next(multipart.bodies(answer.read()), b"")
