"""What every server that is measured has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.filereader import read_file_meta_info

from bench.clients import Called
from bench.material import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server.

    `roots` are the processes whose trees its CPU time and memory are read from; `count` tells how many images
    it holds, None where only a query can tell; `part10` gives one back as a Part 10 file; `dicomweb` is the
    root of its DICOMweb, empty where it has none.
    """

    called: Called
    roots: Sequence[int]
    part10: Callable[[Image], bytes]
    count: Callable[[], int] | None = None
    dicomweb: str = ""


class Peer(Protocol):
    """A way to start a server; each start is on a folder of its own."""

    @property
    def key(self) -> str:
        """Its name on the command line and in the figures."""

    @property
    def title(self) -> str:
        """Its name in the table."""

    @property
    def durability(self) -> str:
        """What is safe on the disk when it acknowledges."""

    @property
    def needs(self) -> Sequence[str]:
        """The programs without which it cannot run."""

    @property
    def answers_queries(self) -> bool:
        """Whether it answers C-FIND, C-GET and C-MOVE."""

    def version(self) -> str:
        """Its version, in a word."""

    def started(self, folder: Path, destination_port: int) -> AbstractContextManager[Server]:
        """Start it on an empty folder; the destination of C-MOVE listens on the port, if there is one."""


def files_in(folder: Path) -> list[Path]:
    """The DICOM files of a server that keeps them in one folder."""
    return [path for path in folder.iterdir() if path.is_file() and path.name != "index.dat"]


def file_of(folder: Path, image: Image) -> bytes:
    """The image's file in such a folder, whatever it is called there; empty if there is none."""
    for path in files_in(folder):
        if path.name.endswith(image.sop_uid):
            return path.read_bytes()
    for path in files_in(folder):
        if read_file_meta_info(path).MediaStorageSOPInstanceUID == image.sop_uid:
            return path.read_bytes()
    return b""
