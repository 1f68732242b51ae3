"""pynetdicom's applications `storescp`, which writes files, and `qrscp`, which keeps them in SQLite too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.clients import DESTINATION, Called, echo
from bench.peers.peer import Server, file_of, files_in
from bench.processes import free_port, running

_CONFIGURATION = """\
[DEFAULT]
    ae_title: QRSCP
    port: {port}
    max_pdu: 16382
    acse_timeout: 30
    dimse_timeout: 30
    network_timeout: 30
    bind_address: 127.0.0.1
    instance_location: {folder}
    database_location: {database}
    log_identifier: True
[{destination}]
    address: 127.0.0.1
    port: {destination_port}
"""
"""As the package's own ``default.ini``, with a port, folders and a destination."""


@dataclass(frozen=True, slots=True)
class PynetdicomStorescp:
    """``python -m pynetdicom storescp``."""

    key: str = "pynetdicom-storescp"
    title: str = "pynetdicom storescp"
    durability: str = "files, not fsynced"
    needs: tuple[str, ...] = ()
    answers_queries: bool = False

    def version(self) -> str:
        """pynetdicom's version."""
        return version("pynetdicom")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder; it sends nothing anywhere."""
        received = folder / "received"
        received.mkdir()
        called = Called(ae_title="STORESCP", port=free_port())
        argv = [
            sys.executable, "-m", "pynetdicom", "storescp", str(called.port),
            "-ba", "127.0.0.1", "-od", str(received),
        ]  # fmt: skip
        with running(argv, log=folder / "storescp.log", ready=partial(echo, called)) as process:
            yield Server(
                called=called,
                roots=(process.pid,),
                part10=partial(file_of, received),
                count=lambda: len(files_in(received)),
            )


@dataclass(frozen=True, slots=True)
class Qrscp:
    """``python -m pynetdicom qrscp``."""

    key: str = "qrscp"
    title: str = "pynetdicom qrscp"
    durability: str = "SQLite fsynced, files not"
    needs: tuple[str, ...] = ("qrscp",)
    answers_queries: bool = True

    def version(self) -> str:
        """pynetdicom's version."""
        return version("pynetdicom")

    @contextmanager
    def started(self, folder: Path, destination_port: int) -> Iterator[Server]:
        """Start it on a folder."""
        received = folder / "received"
        received.mkdir()
        called = Called(ae_title="QRSCP", port=free_port())
        configuration = folder / "qrscp.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                port=called.port,
                folder=received,
                database=folder / "instances.sqlite",
                destination=DESTINATION,
                destination_port=destination_port,
            )
        )
        argv = [sys.executable, "-m", "pynetdicom", "qrscp", "-c", str(configuration)]
        with running(argv, log=folder / "qrscp.log", ready=partial(echo, called)) as process:
            yield Server(
                called=called,
                roots=(process.pid,),
                part10=partial(file_of, received),
                count=lambda: len(files_in(received)),
            )
