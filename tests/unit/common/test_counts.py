"""What processes count together: files that have their blocks, and memory where the disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_COUNT = """
import errno, os
FULL_AFTER = {full_after}
calls = []
given = os.posix_fallocate
def posix_fallocate(descriptor, offset, size):
    calls.append(size)
    if len(calls) > FULL_AFTER:
        raise OSError(errno.ENOSPC, "No space left on device")
    given(descriptor, offset, size)
os.posix_fallocate = posix_fallocate
from services.common.counts import Counter
counter = Counter("gantry_test_total", "Counts.", ["number"])
for number in range(2000):
    counter.labels(str(number)).inc(number)
assert counter.labels("1999")._value.get() == 1999
print(max(calls))
"""


def count(folder: Path, *, full_after: int) -> int:
    """Count in a process of its own, on a disk that is full after so many files and growths; gives the size
    of the greatest file that it wanted."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT.format(full_after=full_after)],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def lines(folder: Path) -> list[str]:
    """What ``/metrics`` tells of all processes."""
    shown = subprocess.run(
        [sys.executable, "-c", "from services.common.health import metrics; print(metrics().decode())"],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in shown.stdout.splitlines() if line.startswith("gantry_test_total")]


def test_every_file_has_all_its_blocks(tmp_path: Path) -> None:
    size = count(tmp_path, full_after=1000)
    assert size > 64 * 1024
    (file,) = tmp_path.glob("*.db")
    assert file.stat().st_size == size
    assert file.stat().st_blocks * 512 >= size
    assert len(lines(tmp_path)) == 2000
    assert [path for path in tmp_path.iterdir() if path.suffix != ".db"] == []


@pytest.mark.parametrize("full_after", [0, 1])
def test_on_a_full_disk_a_process_counts_for_itself_and_metrics_are_still_shown(
    tmp_path: Path, full_after: int
) -> None:
    count(tmp_path, full_after=full_after)
    assert len(lines(tmp_path)) < 2000
    assert [path for path in tmp_path.iterdir() if path.suffix != ".db"] == []
