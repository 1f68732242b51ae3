"""Kill -9 whatever runs while objects are being sent: every acknowledged object is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.archive import Archive, end, start_archive
from tests.senders import Modality, made_study
from tests.waiting import PATIENCE_SECONDS, wait_until

COUNT = 500
EVERY = 33
"""After so many images something is killed."""
SWEPT_SOON = {"GANTRY_SWEEP__INTERVAL": "1", "GANTRY_SWEEP__YOUNGEST": "5"}
"""What a killed worker held is not waited for until its visibility time-out is over."""
PARTS = ("listen --fd", "services.cli index", "bin/postgres", "redis-server", "services.cli sweep",
         "services.cli transcode", "services.cli api")  # fmt: skip


def kill(archive: Archive, part: str) -> None:
    """Kill the last process of a part: of the listener one that accepts, of a worker one of its children."""
    os.kill(archive.processes(part)[-1], signal.SIGKILL)


def kill_first(archive: Archive, part: str) -> None:
    """Kill the first process of a part: the parent of those that do the work."""
    os.kill(archive.processes(part)[0], signal.SIGKILL)


def assert_given_back(archive: Archive, images: list[Dataset], folder: Path, getscu: Path) -> None:
    """Every image comes back over C-GET with the same elements."""
    folder.mkdir()
    subprocess.run(
        [getscu, "-S", *archive.peer, "-od", folder, "-k", "QueryRetrieveLevel=STUDY",
         "-k", f"StudyInstanceUID={images[0].StudyInstanceUID}"],
        check=True, capture_output=True, timeout=PATIENCE_SECONDS, env=os.environ | {"TCP_NODELAY": "1"},
    )  # fmt: skip
    found = {got.SOPInstanceUID: got for got in map(pydicom.dcmread, folder.iterdir())}
    assert len(found) == len(images)
    for image in images:
        assert found[image.SOPInstanceUID] == image


@pytest.mark.timeout(900)
def test_every_acknowledged_object_is_found_after_each_service_was_killed(
    fresh_archive: Archive, tool: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of each part a child that works, and later the parent of those that do."""
    getscu = tool("getscu")
    images = made_study(COUNT)
    kills = [(kill, part) for part in PARTS] + [(kill_first, part) for part in PARTS]
    due = {EVERY * number: order for number, order in enumerate(kills, start=1)}

    def before(index: int) -> None:
        if index in due:
            how, part = due[index]
            wait_until(lambda: fresh_archive.processes(part), explain=f"no process of {part} runs")
            how(fresh_archive, part)

    modality = Modality(port=fresh_archive.dicom_port)
    modality.send(images, before)
    assert len(modality.acknowledged) == COUNT
    fresh_archive.wait_for_instances(COUNT, seconds=400)
    assert fresh_archive.instances() == COUNT
    assert_given_back(fresh_archive, images, tmp_path / "got", getscu)


@pytest.mark.timeout(600)
def test_the_next_start_after_a_killed_archive_has_every_acknowledged_object(
    tmp_path: Path, tool: Callable[[str], Path]
) -> None:
    getscu = tool("getscu")
    images = made_study(200)
    archive = start_archive(tmp_path, **SWEPT_SOON)
    killed = archive
    try:
        modality = Modality(port=archive.dicom_port)
        modality.send(images[:100])
        os.kill(archive.process.pid, signal.SIGKILL)
        archive.process.wait()
        wait_until(
            lambda: not killed.processes("services.cli"), explain=lambda: "services outlive the supervisor"
        )
        archive = start_archive(tmp_path, **SWEPT_SOON)
        modality = Modality(port=archive.dicom_port, acknowledged=modality.acknowledged)
        modality.send(images[100:])
        archive.wait_for_instances(200, seconds=240)
        assert_given_back(archive, images, tmp_path / "got", getscu)
        assert archive.stop() == 0
    finally:
        end(archive)
