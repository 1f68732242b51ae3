"""Timed C-GET, C-MOVE and WADO-RS: every server holds the same study, is idle, and is asked in turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import clients, multipart
from bench.clients import Finished
from bench.cpu import cpu_seconds
from bench.errors import BenchError, WrongAnswer
from bench.material import Batch, Material, same_image, sop_uid_of, spot_check
from bench.peers.dcmtk import receiver
from bench.peers.peer import Peer, Server, file_of, files_in
from bench.processes import settle
from bench.results import Results, Sample
from bench.rows import Row, Work
from bench.store import wait_until_found

_SETTLE_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A server that holds the study and has come to rest."""

    peer: Peer
    server: Server
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    """Where clients write: `folder` for C-GET and WADO-RS, `destination` for C-MOVE."""

    folder: Path
    destination: Server
    moved: Path


def run(
    rows: Sequence[Row],
    peers: Sequence[Peer],
    material: Material,
    folder: Path,
    port: int,
    rounds: int,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """Load every server once, then ask each in turn for each row, round after round."""
    with ExitStack() as stack:
        (folder / "client").mkdir()
        destination = stack.enter_context(receiver(folder / "client", port, ae_title=clients.DESTINATION))
        client = _Client(folder=folder / "got", destination=destination, moved=folder / "client" / "received")
        loaded = list(_load(stack, peers, material, folder, port, results, say))
        for number in range(rounds + 1):
            for row in rows:
                for one in loaded:
                    if one.peer.key not in row.peers or (row.work is Work.WADO and not one.server.dicomweb):
                        continue
                    try:
                        sample = _timed(row, one, client)
                    except BenchError as error:
                        results.failures.append(f"{row.key}, {one.peer.title}: {error}")
                        say(f"  {row.key:10} {one.peer.title:28} failed: {error}")
                        continue
                    if number:  # the first round warms up
                        results.samples.append(sample)
                        say(f"  {row.key:10} {one.peer.title:28} {sample.rate:7.0f}/s")


def _load(
    stack: ExitStack,
    peers: Sequence[Peer],
    material: Material,
    folder: Path,
    port: int,
    results: Results,
    say: Callable[[str], None],
) -> Iterator[_Loaded]:
    (batch,) = material.batches(1)
    for peer in peers:
        (folder / peer.key).mkdir()
        say(f"  loading {peer.title}")
        try:
            server = stack.enter_context(peer.started(folder / peer.key, port))
            clients.store(server.called, [batch])
            wait_until_found(server, [batch])
        except BenchError as error:
            results.failures.append(f"loading {peer.title}: {error}")
            continue
        if not settle(server.roots, seconds=_SETTLE_SECONDS):
            results.failures.append(f"{peer.title} was not idle when it was asked")
        yield _Loaded(peer=peer, server=server, batch=batch)
    material.warm()


def _timed(row: Row, one: _Loaded, client: _Client) -> Sample:
    client.folder.mkdir()
    try:
        settle(one.server.roots, seconds=10)
        before = cpu_seconds(one.server.roots)
        before_moved = cpu_seconds(client.destination.roots)
        done = _retrieve(row.work, one, client)
        used = cpu_seconds(one.server.roots) - before
        moved = cpu_seconds(client.destination.roots) - before_moved
        _check(row.work, one, client)
    finally:
        shutil.rmtree(client.folder)
        for file in files_in(client.moved):
            file.unlink()
    return Sample(
        measure=row.measure,
        peer=one.peer.key,
        images=len(one.batch.images),
        seconds=done.seconds,
        server_cpu_seconds=used,
        client_cpu_seconds=done.cpu_seconds + moved,
    )


def _retrieve(work: Work, one: _Loaded, client: _Client) -> Finished:
    study_uid = one.batch.study_uid
    if work is Work.GET:
        return clients.get(one.server.called, study_uid, client.folder)
    if work is Work.MOVE:
        return clients.move(one.server.called, study_uid)
    return clients.fetch(f"{one.server.dicomweb}/studies/{study_uid}", client.folder / "study")


def _check(work: Work, one: _Loaded, client: _Client) -> None:
    """That all images have come, and some of them as they were sent."""
    images = one.batch.images
    samples = spot_check(images)
    if work is Work.WADO:
        count, got = _parts(client.folder / "study", {image.sop_uid for image in samples})
    else:
        folder = client.folder if work is Work.GET else client.moved
        count = len(files_in(folder))
        got = {image.sop_uid: file_of(folder, image) for image in samples}
    if count != len(images):
        raise WrongAnswer(f"{count} of {len(images)} images came")
    if not all(same_image(image.path.read_bytes(), got.get(image.sop_uid, b"")) for image in samples):
        raise WrongAnswer("other images came than were sent")


def _parts(answer: Path, wanted: Set[str]) -> tuple[int, dict[str, bytes]]:
    """How many different images the answer holds, and those wanted."""
    seen = set()
    kept = {}
    with multipart.parts(answer) as bodies:
        for body in bodies:
            sop_uid = sop_uid_of(body)
            seen.add(sop_uid)
            if sop_uid in wanted:
                kept[sop_uid] = body
    return len(seen), kept
