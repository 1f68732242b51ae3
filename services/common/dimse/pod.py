"""A DIMSE service as a process: one listening socket, several children that accept, one composition."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.dimse.acceptor import Acceptor
from services.common.dimse.handlers import Handlers
from services.common.dimse.listener import run_processes, serve_until_terminated
from services.common.dimse.negotiation import ContextPolicy
from services.common.dimse.slots import AssociationSlots
from services.common.ports import NodeRules
from services.common.settings import DicomSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a service puts behind the acceptor; `close` ends what it opened, after the last association."""

    handlers: Handlers
    policy: ContextPolicy
    nodes: NodeRules
    close: Callable[[], object]


def run_pod(
    settings: DicomSettings,
    listening: socket.socket,
    compose: Callable[[], Composition],
    *,
    beside: Sequence[Callable[[], None]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT.  `compose` runs in every child, after the fork."""
    slots = AssociationSlots(settings.maximum_associations, settings.processes)

    def serve(index: int) -> None:
        composition = compose()
        acceptor = Acceptor(
            settings=settings,
            handlers=composition.handlers,
            policy=composition.policy,
            nodes=composition.nodes,
            seat=slots.seat(index),
        )
        try:
            serve_until_terminated(acceptor, listening)
        finally:
            composition.close()

    run_processes(settings.processes, serve, beside=beside, died=slots.clear, ending=listening.close)
