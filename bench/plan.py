"""From the rows that are wanted to the runs that give their figures, in turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import lag, memory, retrieve, store, tools
from bench.errors import BenchError
from bench.material import Material, Size
from bench.peers.dcmtk import Dcmqrscp, Storescp
from bench.peers.gantry import Gantry
from bench.peers.orthanc import Orthanc
from bench.peers.peer import Peer
from bench.peers.pynetdicom import PynetdicomStorescp, Qrscp
from bench.processes import free_port
from bench.results import PeerFacts, Results, Sample
from bench.rows import QUICK_COUNTS, SMALL, Row, Work

PEERS: Mapping[str, Peer] = {
    peer.key: peer
    for peer in (
        Gantry(),
        Gantry(transcodes=False),
        Gantry(on_minio=True),
        Gantry(on_minio=True, transcodes=False),
        Orthanc(),
        Storescp(),
        PynetdicomStorescp(),
        Dcmqrscp(),
        Qrscp(),
    )
}
_WARM_UP = replace(SMALL, key="warm-up", count=8)
_RETRIEVALS = (Work.GET, Work.MOVE, Work.WADO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured."""

    rounds: int
    lag_seconds: float
    quick: bool
    peers: frozenset[str]


class Bench:
    """A benchmark under way, in a folder that is empty again when it has ended."""

    def __init__(self, folder: Path, options: Options, results: Results, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._options = options
        self._results = results
        self._say = say
        self._materials: dict[str, Material] = {}
        self._count = 0

    def run(self, rows: Sequence[Row]) -> None:
        """Measure all that the rows show."""
        for group in _groups([row for row in rows if row.work in (Work.STORE, Work.FIND)]):
            self._store(group)
        if retrievals := [row for row in rows if row.work in _RETRIEVALS]:
            self._retrieve(retrievals)
        for row in rows:
            if row.work is Work.LAG:
                self._lag(row)
            elif row.work is Work.MEMORY:
                self._memory(row)

    def _store(self, rows: Sequence[Row]) -> None:
        stored = replace(rows[0], work=Work.STORE).measure
        order = store.StoreRun(
            material=self._material(rows[0].size),
            warm_up=self._material(_WARM_UP),
            associations=rows[0].associations,
            stored=stored,
            found=next((row.measure for row in rows if row.work is Work.FIND), ""),
        )
        self._say(", ".join(row.key for row in rows))
        peers = self._peers(rows)
        for _ in range(self._rounds(rows)):
            for peer in peers:
                self._store_once(order, peer)

    def _rounds(self, rows: Sequence[Row]) -> int:
        """Rows that aim at nothing get fewer."""
        rounds = self._options.rounds
        return rounds if any(row.aims for row in rows) else max(1, rounds * 3 // 5)

    def _retrieve(self, rows: Sequence[Row]) -> None:
        self._say(", ".join(row.key for row in rows))
        with self._fresh_folder() as folder:
            retrieve.run(
                rows,
                self._peers(rows),
                self._material(rows[0].size),
                folder,
                free_port(),
                self._rounds(rows),
                self._results,
                self._say,
            )

    def _lag(self, row: Row) -> None:
        self._say(row.key)
        order = store.StoreRun(
            material=self._material(row.size),
            warm_up=self._material(_WARM_UP),
            associations=row.associations,
            stored="",
            found="",
        )
        for peer in self._peers([row]):
            with self._fresh_folder() as folder:
                try:
                    lags = lag.run(order, peer, folder, seconds=self._options.lag_seconds)
                except BenchError as error:
                    self._fail(f"{row.key}, {peer.title}", error)
                    continue
            self._results.lags[peer.key] = [round(seconds, 4) for seconds in lags]

    def _memory(self, row: Row) -> None:
        self._say(row.key)
        for peer in self._peers([row]):
            with self._fresh_folder() as folder:
                try:
                    peaks = memory.run(self._material(row.size), peer, folder, self._say)
                except BenchError as error:
                    self._fail(f"{row.key}, {peer.title}", error)
                    continue
            self._results.memory[peer.key] = peaks

    def _store_once(self, order: store.StoreRun, peer: Peer) -> None:
        with self._fresh_folder() as folder:
            try:
                samples = store.run(order, peer, folder)
            except BenchError as error:
                self._fail(f"{order.stored}, {peer.title}", error)
                return
        self._results.samples += samples
        self._say(f"  {peer.title:28}" + "".join(f" {_told(sample)}" for sample in samples))

    def _peers(self, rows: Sequence[Row]) -> list[Peer]:
        """Those that the rows show and that are here, in the order of all."""
        shown = {key for row in rows for key in row.peers}
        found = []
        for key, peer in PEERS.items():
            if key not in shown or key not in self._options.peers:
                continue
            if missing := [program for program in peer.needs if not tools.present(program)]:
                self._results.absent[peer.title] = tools.hint(missing[0])
                continue
            self._results.peers[key] = PeerFacts(
                title=peer.title, version=peer.version(), durability=peer.durability
            )
            found.append(peer)
        return found

    def _material(self, size: Size) -> Material:
        """The files of a size, made when they are first needed."""
        if size.key not in self._materials:
            if self._options.quick:
                size = replace(size, count=QUICK_COUNTS.get(size.key, size.count))
            self._say(f"making {size.count} × {size.label}")
            self._materials[size.key] = Material(size, self._folder / "material" / size.key)
        return self._materials[size.key]

    @contextmanager
    def _fresh_folder(self) -> Iterator[Path]:
        self._count += 1
        folder = self._folder / f"run-{self._count}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def _fail(self, what: str, error: BenchError) -> None:
        self._results.failures.append(f"{what}: {error}")
        self._say(f"  failed: {what}: {error}")


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows that the same runs give the figures of."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.size.key, row.associations), []).append(row)
    return list(groups.values())


def _told(sample: Sample) -> str:
    server, client = sample.server_cpu_seconds, sample.client_cpu_seconds
    per_image = 1000 / sample.images
    return f"{sample.rate:7.1f}/s ({server * per_image:.1f} + {client * per_image:.1f} ms)"
