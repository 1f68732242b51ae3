"""The greatest resident set of each service while an object of 4 GB comes in and goes out."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from bench import clients
from bench.cpu import command_line, memory, tree
from bench.errors import WrongAnswer
from bench.material import Material
from bench.peers.peer import Peer, files_in
from bench.store import wait_until_found

_EVERY_SECONDS = 0.2
_CLIENT_SECONDS = 900.0
_BLOCK = 1 << 20
_SERVICE = re.compile(r"\bservices\.cli\S* (\w+)")
_NAMES = {"listen": "dicom", "up": "supervisor"}
_PROGRAMS = (
    ("pixels.worker", "codec"),
    ("postgres", "PostgreSQL"),
    ("redis", "Redis"),
    ("minio", "MinIO"),
    ("gantry up", "supervisor"),
)


def service_of(command: str) -> str:
    """The service that a process belongs to, by how it was started; empty for none that has a name."""
    if service := _SERVICE.search(command):
        return _NAMES.get(service[1], service[1])
    return next((name for mark, name in _PROGRAMS if mark in command), "")


def run(material: Material, peer: Peer, folder: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Store the object, get it by C-GET and by WADO-RS; the peak of each service's greatest process in bytes.

    Raises:
        WrongAnswer: other bytes come out than went in.
    """
    with peer.started(folder, 0) as server, _peaks(server.roots) as peaks:
        batches = material.batches(1)
        sent = clients.store(server.called, batches, seconds=_CLIENT_SECONDS)
        say(f"  stored in {sent.seconds:.0f} s")
        wait_until_found(server, batches)
        (image,) = batches[0].images
        wanted = _digest(image.path, _data_set_at(image.path, 0), material.size.pixel_bytes)
        got = folder / "got"
        got.mkdir()
        done = clients.get(server.called, image.study_uid, got, seconds=_CLIENT_SECONDS)
        say(f"  C-GET in {done.seconds:.0f} s")
        (file,) = files_in(got)
        if _digest(file, _data_set_at(file, 0), material.size.pixel_bytes) != wanted:
            raise WrongAnswer("C-GET gives other bytes than were sent")
        file.unlink()
        done = clients.fetch(clients.instance_url(server.dicomweb, image), file, seconds=_CLIENT_SECONDS)
        say(f"  WADO-RS in {done.seconds:.0f} s")
        with file.open("rb") as opened:
            body = opened.read(4096).find(b"\r\n\r\n") + 4
        if _digest(file, _data_set_at(file, body), material.size.pixel_bytes) != wanted:
            raise WrongAnswer("WADO-RS gives other bytes than were sent")
    return peaks


def _data_set_at(file: Path, start: int) -> int:
    """Where the data set begins in a Part 10 file that begins at `start`."""
    with file.open("rb") as opened:
        opened.seek(start + 140)
        return start + 144 + int.from_bytes(opened.read(4), "little")


def _digest(file: Path, start: int, least: int) -> bytes:
    """Of the data set but for what may follow it in the file; its header is less than a block long."""
    digest = sha256()
    with file.open("rb") as opened:
        opened.seek(start)
        left = least
        while left > 0 and (block := opened.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.digest() if left <= 0 else b""


@contextmanager
def _peaks(roots: Sequence[int]) -> Iterator[dict[str, int]]:
    """Watch the processes in the background; what is yielded is complete when the block is left."""
    peaks: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_SECONDS):
            _look(roots, peaks)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


def _look(roots: Sequence[int], peaks: dict[str, int]) -> None:
    for process in tree(roots):
        name = service_of(command_line(process.pid))
        peak = memory(process.pid).get("VmHWM", 0)
        if name:
            peaks[name] = max(peaks.get(name, 0), peak)
