"""The disk fills up: senders are refused in time, nothing dies of it, and room is all that it takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests import tools
from tests.archive import Archive, end, start_archive
from tests.senders import Modality, made_study
from tests.waiting import wait_until

_DISK_BYTES = 400 * 2**20
_RESERVE_BYTES = 64 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 MB, in memory; to mount one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        tools.report_absent("mount")
        pytest.skip("only root mounts a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Write a file that leaves so many bytes free, or none at all."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, free - leave - 2**20)
        file.seek(0, os.SEEK_END)
        while not leave:
            file.write(bytes(4096))
    return filler


def store_status(archive: Archive) -> int:
    """What a C-STORE of a new image is answered."""
    (image,) = made_study(1)
    peer = AE("SENDER")
    peer.add_requested_context(CTImageStorage, image.file_meta.TransferSyntaxUID)
    association = peer.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY")
    assert association.is_established
    status = association.send_c_store(image).Status
    association.release()
    return int(status)


@pytest.mark.timeout(600)
def test_images_are_refused_before_the_disk_is_full_and_the_rest_goes_on(small_disk: Path) -> None:
    archive = start_archive(small_disk, GANTRY_STORE__RESERVE_BYTES=str(_RESERVE_BYTES))
    try:
        modality = Modality(port=archive.dicom_port)
        modality.send(made_study(30))
        filler = fill(small_disk, leave=_RESERVE_BYTES - 4 * 2**20)
        assert store_status(archive) == 0xA700
        status, body, _ = archive.get("/readyz")
        assert status == 503
        assert b"the disk is full" in body
        archive.wait_for_instances(30)
        assert b"gantry_store_free_bytes" in archive.get("/metrics")[1]
        filler.unlink()
        modality.send(made_study(10))
        archive.wait_for_instances(40)
        wait_until(lambda: archive.get("/readyz")[0] == 200)
        assert not archive.events("child_ended")
    finally:
        end(archive)


@pytest.mark.timeout(600)
def test_what_was_acknowledged_before_the_last_byte_was_taken_is_found_once_there_is_room(
    small_disk: Path,
) -> None:
    archive = start_archive(
        small_disk,
        GANTRY_STORE__RESERVE_BYTES="0",
        GANTRY_SWEEP__INTERVAL="1",
        GANTRY_SWEEP__YOUNGEST="5",
    )
    try:
        modality = Modality(port=archive.dicom_port)
        modality.send(made_study(30))
        filler = fill(small_disk, leave=0)
        assert store_status(archive) == 0xA700
        # Processes that begin now find no room to count in.
        for part in ("services.cli index", "services.cli transcode", "listen --fd"):
            os.kill(archive.processes(part)[-1], 9)
        wait_until(lambda: len(archive.processes("listen --fd")) >= 3)
        assert store_status(archive) == 0xA700
        assert archive.get("/metrics")[0] == 200
        filler.unlink()
        modality.send(made_study(10))
        archive.wait_for_instances(40)
        assert archive.instances() == 40
        assert archive.json("/api/quarantine") == []
        assert not [event for event in archive.events("child_ended") if event["status"] == -7]
    finally:
        end(archive)
