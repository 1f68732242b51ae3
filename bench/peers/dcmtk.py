"""DCMTK's `storescp`, which writes files, and `dcmqrscp`, which keeps a small index too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import tools
from bench.clients import AE_TITLE, DESTINATION, Called, echo
from bench.peers.peer import Server, file_of, files_in
from bench.processes import NO_NAGLE, free_port, running

_CONFIGURATION = """\
NetworkTCPPort  = {port}
MaxPDUSize      = 16384
MaxAssociations = 16
HostTable BEGIN
sender      = ({sender}, 127.0.0.1, 1)
destination = ({destination}, 127.0.0.1, {destination_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {folder} RW (1000, 4096mb) ANY
AETable END
"""
"""As Debian packages it, with an AE title, a folder and a destination."""


@dataclass(frozen=True, slots=True)
class Storescp:
    """`storescp`, with a process per association."""

    key: str = "storescp"
    title: str = "DCMTK storescp"
    durability: str = "files, not fsynced"
    needs: tuple[str, ...] = ("storescp",)
    answers_queries: bool = False

    def version(self) -> str:
        """DCMTK's version."""
        return tools.version("storescp")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder; it sends nothing anywhere."""
        with receiver(folder, free_port(), ae_title="STORESCP") as server:
            yield server


@contextmanager
def receiver(folder: Path, port: int, *, ae_title: str) -> Iterator[Server]:
    """A `storescp` that writes what it gets as it gets it, into ``received`` below the folder."""
    received = folder / "received"
    received.mkdir()
    called = Called(ae_title=ae_title, port=port)
    argv = [
        tools.path("storescp"), "--fork", "+B", "-dhl", "-aet", ae_title, "-od", str(received), str(port),
    ]  # fmt: skip
    ready = partial(echo, called)
    with running(argv, log=folder / "storescp.log", ready=ready, environment=NO_NAGLE) as process:
        yield Server(
            called=called,
            roots=(process.pid,),
            part10=partial(file_of, received),
            count=lambda: len(files_in(received)),
        )


@dataclass(frozen=True, slots=True)
class Dcmqrscp:
    """`dcmqrscp`, with a process per association."""

    key: str = "dcmqrscp"
    title: str = "DCMTK dcmqrscp"
    durability: str = "files and index, not fsynced"
    needs: tuple[str, ...] = ("dcmqrscp",)
    answers_queries: bool = True

    def version(self) -> str:
        """DCMTK's version."""
        return tools.version("dcmqrscp")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder."""
        received = folder / "received"
        received.mkdir()
        called = Called(ae_title="DCMQRSCP", port=free_port())
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            _CONFIGURATION.format(
                port=called.port,
                sender=AE_TITLE,
                destination=DESTINATION,
                destination_port=destination_port,
                folder=received,
            )
        )
        argv = [tools.path("dcmqrscp"), "-dhl", "+B", "-c", str(configuration)]
        ready = partial(echo, called)
        log = folder / "dcmqrscp.log"
        with running(argv, log=log, ready=ready, environment=NO_NAGLE) as process:
            yield Server(
                called=called,
                roots=(process.pid,),
                part10=partial(file_of, received),
                count=lambda: len(files_in(received)),
            )
