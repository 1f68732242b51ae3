"""What yields to others, and that the codec processes of what yields do too, in sessions of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import json, os, sys
from pathlib import Path
from services.common.pixels.jobs import Frame, encoded
from services.common.pixels.description import ImageDescription
from services.common.pixels.pool import CodecPool, Limits
from services.common.priority import yield_to_others

def priority(pid):
    group = Path(f"/proc/{pid}/autogroup")
    return os.getpriority(os.PRIO_PROCESS, pid), group.read_text().split()[-1] if group.exists() else ""

if __name__ == "__main__":
    yield_to_others(int(sys.argv[1]))
    yield_to_others(0)
    image = ImageDescription(
        rows=64, columns=64, samples_per_pixel=1, bits_allocated=8, bits_stored=8, high_bit=7,
        pixel_representation=0, photometric_interpretation="MONOCHROME2",
    )
    frame = Frame(image=image, length=4096, content=[bytes(4096)], transfer_syntax_uid=None)
    pool = CodecPool(Limits(processes=1))
    with encoded(pool, frame, "MONOCHROME2") as done:
        list(done.stream)
        list(done.proof)
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        (child,) = (int(pid) for task in children for pid in task.read_text().split())
        print(json.dumps([priority(os.getpid()), priority(child)]))
    pool.close()
"""


@pytest.mark.parametrize("niceness", [0, 7])
def test_codec_processes_are_as_nice_as_who_started_them(tmp_path: Path, niceness: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, program, str(niceness)],
        capture_output=True,
        check=True,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    for nice, group in json.loads(done.stdout):
        assert nice == max(niceness, ours)
        # A kernel that groups sessions may still forbid a change so soon after another.
        assert group in ("", "0", str(nice))
