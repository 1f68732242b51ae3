"""A DIMSE service as a process: one listening socket, several children that accept, one composition."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from services.common import logs
from services.common.dimse.acceptor import Acceptor
from services.common.dimse.handlers import Handlers
from services.common.dimse.listener import bind, run_processes, serve_until_terminated
from services.common.dimse.negotiation import ContextPolicy
from services.common.dimse.slots import AssociationSlots
from services.common.dimse.tls import server_context
from services.common.errors import Unavailable
from services.common.health import HealthServer
from services.common.ports import NodeRules
from services.common.settings import DicomSettings

_LOOK_SECONDS = 0.1
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a service puts behind the acceptor; `close` ends what it opened, after the last association."""

    handlers: Handlers
    policy: ContextPolicy
    nodes: NodeRules
    close: Callable[[], object]


def open_port(settings: DicomSettings) -> socket.socket:
    """Listen where the settings say; the log tells where that is.

    Raises:
        Unavailable: the port is taken, or the host is none of this machine's.
    """
    return _listen(settings.host, settings.port, ae_title=settings.ae_title, tls=False)


def _open_secure_ports(settings: DicomSettings) -> Sequence[socket.socket]:
    """Listen for TLS where a certificate is set, after a look at whether it can be used.

    Raises:
        Unavailable: it cannot, or the port is taken.
    """
    if server_context(settings.tls) is None:
        return ()
    host = settings.tls.host or settings.host
    return (_listen(host, settings.tls.port, ae_title=settings.ae_title, tls=True),)


def _listen(host: str, port: int, *, ae_title: str, tls: bool) -> socket.socket:
    try:
        listening = bind(host, port)
    except OSError as exc:
        raise Unavailable(f"DICOM cannot listen on {host}:{port}: {exc.strerror}") from exc
    host, port = listening.getsockname()[:2]
    _log.info("dicom_listening", host=host, port=port, ae_title=ae_title, tls=tls)
    return listening


def run_pod(
    settings: DicomSettings,
    listening: socket.socket,
    compose: Callable[[], Composition],
    *,
    health: HealthServer | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.  `compose` runs in every child, after the fork; `health` in one more.

    The port for TLS is opened here.

    Raises:
        Unavailable: it cannot be had, or the files for TLS cannot be used.
    """
    secure = _open_secure_ports(settings)
    slots = AssociationSlots(settings.maximum_associations, settings.processes)

    def close() -> None:
        # A listening socket takes connections as long as any process has it open.
        for sock in (listening, *secure):
            sock.close()
        if health is not None:
            health.server_close()

    def probe(server: HealthServer) -> None:
        for sock in (listening, *secure):
            sock.close()
        _answer_probes(server, slots)

    def serve(index: int) -> None:
        if health is not None:
            health.server_close()
        composition = compose()
        acceptor = Acceptor(
            settings=settings,
            handlers=composition.handlers,
            policy=composition.policy,
            nodes=composition.nodes,
            seat=slots.seat(index),
            ssl_context=server_context(settings.tls),
        )
        try:
            serve_until_terminated(acceptor, listening, secure=secure)
        finally:
            composition.close()

    run_processes(
        settings.processes,
        serve,
        beside=[] if health is None else [partial(probe, health)],
        died=slots.clear,
        ending=close,
    )


def _answer_probes(health: HealthServer, slots: AssociationSlots) -> None:
    """Answer for the pod until SIGTERM, and from then to the end of its last association that it is not
    ready: a balancer sends nobody here any more, and nobody takes a pod that drains for a dead one."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    health.begin()
    ending.wait()
    health.refuse("it ends, and takes no new association")
    while slots.taken:
        time.sleep(_LOOK_SECONDS)
    health.shutdown()
