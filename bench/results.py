"""The figures of a benchmark, and the JSON file that holds them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timed run: so many images in so many seconds, and the CPU seconds of both ends meanwhile."""

    measure: str
    peer: str
    images: int
    seconds: float
    server_cpu_seconds: float
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """A server that was measured."""

    title: str
    version: str
    durability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured, and when."""

    date: str
    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str


@dataclass(slots=True, kw_only=True)
class Results:
    """All that a benchmark found.

    `absent` says why a peer was left out; `failures` what a server did wrong, whose run then has no figure;
    `lags` are seconds from acknowledged to findable; `memory` is the greatest resident set of a process of
    each service, in bytes.
    """

    machine: Machine
    quick: bool
    peers: dict[str, PeerFacts] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    lags: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def of(self, measure: str, peer: str | None) -> Sequence[Sample]:
        """The runs of a peer."""
        return [sample for sample in self.samples if (sample.measure, sample.peer) == (measure, peer)]

    def save(self, file: Path) -> None:
        """Write the JSON file."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def load(file: Path) -> Results:
    """Read what `Results.save` has written."""
    told: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    return Results(
        machine=Machine(**told["machine"]),
        quick=told["quick"],
        peers={key: PeerFacts(**facts) for key, facts in told["peers"].items()},
        absent=told["absent"],
        samples=[Sample(**sample) for sample in told["samples"]],
        lags=told["lags"],
        memory=told["memory"],
        failures=told["failures"],
    )


def this_machine() -> Machine:
    """What is known of this machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if "model name" in line]
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        processor=models[0].partition(":")[2].strip() if models else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
    )
