"""The clients: DCMTK's programs and curl, timed from their start to their end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import tools
from bench.errors import ClientFailed
from bench.material import Batch, Image
from bench.processes import NO_NAGLE

AE_TITLE = "BENCH"
DESTINATION = "BENCHDEST"
_SHOWN = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Where a DICOM server listens on this machine, and as what."""

    ae_title: str
    port: int

    @property
    def arguments(self) -> list[str]:
        """How DCMTK's clients are told."""
        return ["-aet", AE_TITLE, "-aec", self.ae_title, "127.0.0.1", str(self.port)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What clients that ran at the same time took, and what they said; `began` is of the monotonic clock."""

    began: float
    seconds: float
    cpu_seconds: float
    output: str


def run(commands: Sequence[Sequence[str]], *, seconds: float) -> Finished:
    """Run the clients at once; the time is from the first start to the last end.

    Raises:
        ClientFailed: one ended with an error, or did not end in time; all have ended then.
    """
    environment = {**os.environ, **NO_NAGLE}
    with tempfile.TemporaryFile() as output:
        before = time.monotonic()
        started = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
            for command in commands
        ]
        statuses = [_wait(process, before + seconds) for process in started]
        took = max(ended for _, _, ended in statuses) - before
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    if any(code for code, _, _ in statuses):
        names = {Path(command[0]).name for command in commands}
        raise ClientFailed(f"{', '.join(names)} failed or took over {seconds:.0f} s:\n{said[-_SHOWN:]}")
    return Finished(began=before, seconds=took, cpu_seconds=sum(cpu for _, cpu, _ in statuses), output=said)


def echo(called: Called) -> bool:
    """Whether the server answers C-ECHO."""
    command = [tools.path("echoscu"), "-to", "2", *called.arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


def store(called: Called, batches: Sequence[Batch], *, seconds: float = 600) -> Finished:
    """C-STORE each batch over an association of its own, all at once."""
    return run([store_command(called, batch) for batch in batches], seconds=seconds)


def store_command(called: Called, batch: Batch) -> list[str]:
    """`storescu` with one presentation context: that of the images."""
    return [
        tools.path("storescu"),
        "-R",
        "-xe",
        *called.arguments,
        *(str(image.path) for image in batch.images),
    ]


def found(called: Called, batch: Batch) -> int:
    """How many of the batch's instances C-FIND gives at the image level, once it gives the last one sent.

    The question for the last one is cheap to answer; only when it is found are all asked for.
    """
    last = _find(called, batch, batch.images[-1].sop_uid)
    return _find(called, batch, "") if last else 0


def _find(called: Called, batch: Batch, sop_uid: str) -> int:
    keys = (
        "QueryRetrieveLevel=IMAGE",
        f"StudyInstanceUID={batch.study_uid}",
        f"SeriesInstanceUID={batch.series_uid}",
        f"SOPInstanceUID={sop_uid}",
    )
    command = [tools.path("findscu"), "-S", "-v", *called.arguments, *_keys(keys)]
    said = run([command], seconds=120).output
    named = sum("(0008,0018)" in line and batch.study_uid in line for line in said.splitlines())
    return named - bool(sop_uid)  # the question itself is shown too


def get(called: Called, study_uid: str, folder: Path, *, seconds: float = 600) -> Finished:
    """C-GET a study into a folder, as received."""
    keys = _keys(("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_uid}"))
    command = [tools.path("getscu"), "-S", "+B", "-od", str(folder), *called.arguments, *keys]
    return run([command], seconds=seconds)


def move(called: Called, study_uid: str, *, seconds: float = 600) -> Finished:
    """C-MOVE a study to the destination."""
    keys = _keys(("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_uid}"))
    command = [tools.path("movescu"), "-S", "-aem", DESTINATION, *called.arguments, *keys]
    return run([command], seconds=seconds)


def fetch(url: str, file: Path, *, seconds: float = 600) -> Finished:
    """GET DICOM over WADO-RS in the transfer syntax in which it is stored, into a file."""
    accept = 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*'
    return run([[tools.path("curl"), "-s", "-S", "-f", "-H", accept, "-o", str(file), url]], seconds=seconds)


def instance_url(root: str, image: Image) -> str:
    """Where WADO-RS gives one instance."""
    return f"{root}/studies/{image.study_uid}/series/{image.series_uid}/instances/{image.sop_uid}"


def _keys(keys: Sequence[str]) -> list[str]:
    return [word for key in keys for word in ("-k", key)]


def _wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[int, float, float]:
    """Exit code, CPU seconds and moment of the end; a client that is late is killed."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime, ended
