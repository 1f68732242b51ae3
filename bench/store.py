"""Timed C-STORE: each run on a server started anew, and nothing counts before the images are proven whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import clients
from bench.cpu import cpu_seconds
from bench.errors import WrongAnswer
from bench.material import Batch, Material, same_image, spot_check
from bench.peers.peer import Peer, Server
from bench.processes import settle
from bench.results import Sample

_SETTLE_SECONDS = 120.0
_FIND_SECONDS = 180.0
_BETWEEN_FINDS_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRun:
    """What a run sends, and what its figures are filed under; `found` is empty where that is not timed."""

    material: Material
    warm_up: Material
    associations: int
    stored: str
    found: str


def run(order: StoreRun, peer: Peer, folder: Path) -> list[Sample]:
    """Start the server, let it come to rest, send, and check.

    Raises:
        WrongAnswer: what it holds is not what was sent.
    """
    with peer.started(folder, 0) as server:
        first = order.warm_up.batches(1)
        clients.store(server.called, first)
        if peer.answers_queries:
            wait_until_found(server, first)
        settle(server.roots, seconds=_SETTLE_SECONDS)
        batches = order.material.batches(order.associations)
        order.material.warm()
        samples = _timed(order, peer, server, batches)
        check(peer, server, first, batches)
    return samples


def _timed(order: StoreRun, peer: Peer, server: Server, batches: Sequence[Batch]) -> list[Sample]:
    before = cpu_seconds(server.roots)
    sent = clients.store(server.called, batches)
    used = cpu_seconds(server.roots) - before
    stored = Sample(
        measure=order.stored,
        peer=peer.key,
        images=order.material.size.count,
        seconds=sent.seconds,
        server_cpu_seconds=used,
        client_cpu_seconds=sent.cpu_seconds,
    )
    if not (order.found and peer.answers_queries):
        return [stored]
    wait_until_found(server, batches)
    found = Sample(
        measure=order.found,
        peer=peer.key,
        images=stored.images,
        seconds=time.monotonic() - sent.began,
        server_cpu_seconds=cpu_seconds(server.roots) - before,
        client_cpu_seconds=sent.cpu_seconds,
    )
    return [stored, found]


def wait_until_found(server: Server, batches: Sequence[Batch]) -> None:
    """Until C-FIND gives every instance of every batch.

    Raises:
        WrongAnswer: it does not in time, or gives more than were sent.
    """
    give_up = time.monotonic() + _FIND_SECONDS
    for batch in batches:
        while (found := clients.found(server.called, batch)) != len(batch.images):
            if found > len(batch.images) or time.monotonic() > give_up:
                raise WrongAnswer(f"C-FIND finds {found} of {len(batch.images)}")
            time.sleep(_BETWEEN_FINDS_SECONDS)


def check(peer: Peer, server: Server, first: Sequence[Batch], batches: Sequence[Batch]) -> None:
    """That the server holds as many images as it was sent, and some of them to the byte.

    Raises:
        WrongAnswer: it does not.
    """
    if server.count is not None:
        wanted = sum(len(batch.images) for batch in (*first, *batches))
        if (held := server.count()) != wanted:
            raise WrongAnswer(f"{peer.title} holds {held} of {wanted} images")
    if peer.answers_queries:
        wait_until_found(server, batches)
    for image in spot_check([image for batch in batches for image in batch.images]):
        if not same_image(image.path.read_bytes(), server.part10(image)):
            raise WrongAnswer(f"{peer.title} gives back another image than it was sent")
