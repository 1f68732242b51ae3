"""Orthanc as Debian ships it: its own configuration files, with the least that has to differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench import tools
from bench.clients import AE_TITLE, DESTINATION, Called
from bench.material import Image
from bench.peers.peer import Server
from bench.processes import NO_NAGLE, free_port, running

SHIPPED = Path("/etc/orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_NOWHERE = 1
"""The sender's port, which nobody calls."""
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Orthanc:
    """Orthanc with the plugins that Debian's DICOMweb package adds."""

    key: str = "orthanc"
    title: str = "Orthanc"
    durability: str = "files fsynced, SQLite index in WAL mode"
    needs: tuple[str, ...] = ("Orthanc",)
    answers_queries: bool = True

    def version(self) -> str:
        """Orthanc's version."""
        return tools.version("Orthanc")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder."""
        configuration = folder / "configuration"
        configuration.mkdir()
        dicom_port, http_port = free_port(), free_port()
        modalities: dict[str, list[str | int]] = {AE_TITLE: [AE_TITLE, "127.0.0.1", _NOWHERE]}
        if destination_port:
            modalities[DESTINATION] = [DESTINATION, "127.0.0.1", destination_port]
        changes = {
            "Name": "Bench",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "DicomModalities": modalities,
        }
        for file in sorted(SHIPPED.glob("*.json")):
            options = json.loads(without_comments(file.read_text("utf-8")))
            if file.name == "orthanc.json":
                options |= changes
            (configuration / file.name).write_text(json.dumps(options))
        url = f"http://127.0.0.1:{http_port}"
        argv = [tools.path("Orthanc"), str(configuration)]
        ready = partial(_answers, url)
        log = folder / "orthanc.log"
        with running(argv, log=log, ready=ready, environment=NO_NAGLE) as process:
            yield Server(
                called=Called(ae_title="ORTHANC", port=dicom_port),
                roots=(process.pid,),
                part10=partial(_part10, url),
                count=lambda: int(_json(f"{url}/statistics")["CountInstances"]),
                dicomweb=f"{url}/dicom-web" if PLUGIN.is_file() else "",
            )


def without_comments(text: str) -> str:
    """JSON as Orthanc reads it, without the comments; what looks like one inside a string stays."""
    return _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)


def _answers(url: str) -> bool:
    try:
        return "Version" in _json(f"{url}/system")
    except (URLError, ConnectionError, TimeoutError):
        return False


def _json(url: str) -> Mapping[str, Any]:
    with urlopen(url, timeout=30) as answer:
        told: Mapping[str, Any] = json.load(answer)
        return told


def _part10(url: str, image: Image) -> bytes:
    with urlopen(Request(f"{url}/tools/lookup", data=image.sop_uid.encode()), timeout=30) as answer:
        known = json.load(answer)
    if not known:
        return b""
    with urlopen(f"{url}/instances/{known[0]['ID']}/file", timeout=60) as answer:
        return bytes(answer.read())
