"""Codec processes that crash, stall, eat memory or are killed: their own job fails with a reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from services.common.errors import NotAcceptable, Unavailable
from services.common.pixels import jobs
from services.common.pixels.description import ImageDescription
from services.common.pixels.jobs import Frame
from services.common.pixels.pool import CodecPool, Limits
from tests.waiting import PATIENCE_SECONDS

_SMALL = ImageDescription(
    rows=64,
    columns=64,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
)
_LARGE = replace(_SMALL, rows=4000, columns=4000)


def _frame(image: ImageDescription, seed: int = 0) -> Frame:
    value = np.random.default_rng(seed).bytes(image.frame_length)
    return Frame(image=image, length=len(value), content=[value], transfer_syntax_uid=None)


def _encode(pool: CodecPool, image: ImageDescription = _SMALL, seed: int = 0) -> bool:
    """Whether the frame comes back from its code stream."""
    frame = _frame(image, seed)
    with jobs.encoded(pool, frame, "MONOCHROME2") as encoded:
        stream = b"".join(encoded.stream)
        return bool(stream) and [b"".join(encoded.proof)] == list(frame.content)


@contextmanager
def _pool(limits: Limits) -> Iterator[CodecPool]:
    pool = CodecPool(limits)
    try:
        yield pool
    finally:
        pool.close()


def _children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "services.common.pixels.worker" in child.cmdline()
    ]


def _until_busy(child: psutil.Process) -> None:
    began = child.cpu_times().user
    while child.cpu_times().user < began + 0.1:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (signal.SIGSEGV, NotAcceptable, "crashed .SIGSEGV."),
        (signal.SIGABRT, NotAcceptable, "crashed .SIGABRT."),
        (signal.SIGKILL, Unavailable, "ended from outside"),
    ],
)
def test_a_process_that_dies_fails_its_own_job_only(
    number: signal.Signals, error: type[Exception], reason: str
) -> None:
    with _pool(Limits(processes=2)) as pool:
        before = {child.pid for child in _children()}
        assert _encode(pool)
        (child,) = (c for c in _children() if c.pid not in before)
        with ThreadPoolExecutor(2) as threads:
            job = threads.submit(_encode, pool, _LARGE)
            _until_busy(child)
            neighbour = threads.submit(_encode, pool)
            os.kill(child.pid, number)
            with pytest.raises(error, match=reason):
                job.result()
            assert neighbour.result()
        assert _encode(pool)


def test_a_job_that_takes_too_long_ends_with_a_reason() -> None:
    with _pool(Limits(processes=1, job_seconds=1)) as pool:
        with pytest.raises(NotAcceptable, match="more than 1 s of the processor"):
            _encode(pool, _LARGE)
        assert _encode(pool)


def test_a_job_that_needs_too_much_memory_ends_with_a_reason() -> None:
    with _pool(Limits(processes=1, memory_bytes=300 * 2**20)) as pool:
        with pytest.raises(NotAcceptable, match=r"memory|cannot be encoded|crashed"):
            _encode(pool, _LARGE)
        assert _encode(pool)


def test_garbage_is_refused_and_the_process_lives_on() -> None:
    with _pool(Limits(processes=1)) as pool:
        assert _encode(pool)
        before = _children()
        frame = Frame(
            image=_SMALL, length=100, content=[b"\xff" * 100], transfer_syntax_uid="1.2.840.10008.1.2.4.90"
        )
        with capture_logs() as lines, pytest.raises(NotAcceptable) as refused:
            b"".join(jobs.decoded(pool, frame, _SMALL))
        # What the library says is for the log alone.
        assert str(refused.value) == "the frame cannot be decoded: its code stream is broken or unusual"
        (line,) = (line for line in lines if line["event"] == "codec_job_failed")
        assert "JPEG 2000" in line["cause"]
        assert _encode(pool)
        assert _children() == before


def test_a_source_that_fails_while_it_is_sent_is_the_caller_s_error() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(100)
        raise Unavailable("the store is down")

    with _pool(Limits(processes=1)) as pool:
        frame = replace(_frame(_SMALL), content=broken())
        with (
            pytest.raises(Unavailable, match="store is down"),
            jobs.encoded(pool, frame, "MONOCHROME2"),
        ):
            pytest.fail("half a frame was encoded")
        assert _encode(pool)


def test_a_reply_that_is_not_read_to_its_end_spoils_no_later_job() -> None:
    with _pool(Limits(processes=1)) as pool:
        for seed in range(3):
            with (
                pytest.raises(RuntimeError, match="enough"),
                jobs.encoded(pool, _frame(_SMALL), "MONOCHROME2"),
            ):
                raise RuntimeError("enough")
            assert _encode(pool, seed=seed)
        with jobs.encoded(pool, _frame(_SMALL), "MONOCHROME2"):
            pass
        assert _encode(pool)


def test_many_threads_share_few_processes() -> None:
    with _pool(Limits(processes=2, jobs=10)) as pool:
        before = len(_children())
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(lambda seed: _encode(pool, seed=seed), range(30)))
        assert len(_children()) - before <= 2


def test_a_caller_waits_no_longer_than_agreed() -> None:
    with _pool(Limits(processes=1, wait_seconds=0.1)) as pool:
        assert _encode(pool)
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with jobs.encoded(pool, _frame(_SMALL), "MONOCHROME2") as encoded:
                held.set()
                go_on.wait(PATIENCE_SECONDS)
                b"".join(encoded.stream)
                b"".join(encoded.proof)

        with ThreadPoolExecutor(1) as threads:
            holding = threads.submit(hold)
            held.wait(PATIENCE_SECONDS)
            with pytest.raises(Unavailable, match="busy"):
                _encode(pool)
            go_on.set()
            holding.result()
        assert _encode(pool)


def test_a_closed_pool_has_no_processes_and_takes_no_jobs() -> None:
    with _pool(Limits(processes=1)) as pool:
        before = {child.pid for child in _children()}
        assert _encode(pool)
        pool.close()
        assert {child.pid for child in _children()} <= before
        with pytest.raises(Unavailable, match="closed"):
            _encode(pool)


_PARENT = """
import sys, time
from tests.unit.common.pixels import test_pool
from services.common.pixels.pool import CodecPool, Limits
pool = CodecPool(Limits(processes=1))
test_pool._encode(pool)
print(*(c.pid for c in test_pool._children()), flush=True)
if {busy}:
    test_pool._encode(pool, test_pool._LARGE)
time.sleep(3600)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_processes_die_with_a_killed_parent(busy: bool) -> None:
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(busy=busy)], stdout=subprocess.PIPE, cwd=root, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        if busy:
            _until_busy(child)
        parent.kill()
        parent.wait()
        gone, alive = psutil.wait_procs([child], timeout=PATIENCE_SECONDS)
        assert not alive or alive[0].status() == psutil.STATUS_ZOMBIE, gone


_FORKED = """
import os, sys
from tests.unit.common.pixels import test_pool
from services.common.pixels.pool import CodecPool, Limits
pool = CodecPool(Limits(processes=1))
assert test_pool._encode(pool)
pid = os.fork()
if not pid:
    os._exit(0 if all(test_pool._encode(pool, seed=n) for n in range(5)) else 1)
assert all(test_pool._encode(pool, seed=n) for n in range(5))
_, status = os.waitpid(pid, 0)
pool.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_process_has_codec_processes_of_its_own() -> None:
    root = Path(__file__).parents[4]
    run = subprocess.run([sys.executable, "-c", _FORKED], cwd=root, check=False, timeout=PATIENCE_SECONDS)
    assert run.returncode == 0


def test_a_codec_process_knows_nothing_of_its_parent_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTRY_S3__SECRET_KEY", "hush")
    with _pool(Limits(processes=1)) as pool:
        before = {child.pid for child in _children()}
        assert _encode(pool)
        (child,) = (c for c in _children() if c.pid not in before)
        assert not any("hush" in value for value in child.environ().values())
