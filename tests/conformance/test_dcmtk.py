"""DCMTK's clients against the running archive: echo, store, find, get, move."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from tests.archive import Archive
from tests.senders import made_study, written
from tests.servers_s3 import free_port, is_open
from tests.waiting import wait_until

COUNT = 12
ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}

Tool = Callable[[str], Path]


def run(tool: Path, *arguments: object) -> str:
    """What a client says; its failure fails the test."""
    done = subprocess.run(
        [str(tool), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def study(archive: Archive, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """A study in the archive, with its renditions made."""
    images = made_study(COUNT, patient_id="DCMTK-1")
    folder = tmp_path_factory.mktemp("study")
    written(images, folder)
    run(tool("storescu"), *archive.peer, "+sd", folder)
    uid = images[0].StudyInstanceUID
    wait_until(lambda: len(archive.json(f"/dicom-web/studies/{uid}/instances") or ()) == COUNT)
    wait_until(lambda: len(transcoded(archive, images)) == COUNT, explain=lambda: "no renditions were made")
    return images


def transcoded(archive: Archive, images: list[Dataset]) -> list[Dataset]:
    """Those of which the archive has a JPEG 2000 form."""
    return [image for image in images if archive.get(
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}/frames/1",
        Accept='multipart/related; type="image/jp2"',
    )[0] == 200]  # fmt: skip


def read_all(folder: Path) -> dict[str, Dataset]:
    return {got.SOPInstanceUID: got for got in map(pydicom.dcmread, folder.iterdir())}


def answers(said: str) -> list[str]:
    """The pending responses in what findscu says."""
    return said.split("Find Response: ")[1:]


def test_echo(archive: Archive, tool: Tool) -> None:
    run(tool("echoscu"), *archive.peer)


def test_find_at_every_level(archive: Archive, tool: Tool, study: list[Dataset]) -> None:
    findscu = tool("findscu")
    uid = study[0].StudyInstanceUID
    patients = run(findscu, "-P", *archive.peer, "-k", "QueryRetrieveLevel=PATIENT",
                   "-k", "PatientID=DCMTK-1", "-k", "PatientName",
                   "-k", "NumberOfPatientRelatedInstances")  # fmt: skip
    assert len(answers(patients)) == 1
    assert "Doe^Jane" in patients and f"[{COUNT}]" in patients
    studies = run(findscu, "-S", *archive.peer, "-k", "QueryRetrieveLevel=STUDY",
                  "-k", "PatientID=DCMTK-1", "-k", "StudyInstanceUID", "-k", "ModalitiesInStudy",
                  "-k", "NumberOfStudyRelatedInstances")  # fmt: skip
    assert len(answers(studies)) == 1
    assert uid in studies and "[CT]" in studies
    series = run(findscu, "-S", *archive.peer, "-k", "QueryRetrieveLevel=SERIES",
                 "-k", f"StudyInstanceUID={uid}", "-k", "SeriesInstanceUID")  # fmt: skip
    assert study[0].SeriesInstanceUID in series
    images = run(findscu, "-S", *archive.peer, "-k", "QueryRetrieveLevel=IMAGE",
                 "-k", f"StudyInstanceUID={uid}", "-k", f"SeriesInstanceUID={study[0].SeriesInstanceUID}",
                 "-k", "SOPInstanceUID", "-k", "Rows")  # fmt: skip
    assert len(answers(images)) == COUNT


def test_find_at_a_wrong_level_is_refused(archive: Archive, tool: Tool) -> None:
    said = subprocess.run(
        [tool("findscu"), "-S", "-d", *archive.peer, "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert re.search(
        r"0xa900|IdentifierDoesNotMatch|Identifier does not match", said.stdout + said.stderr, re.I
    )


def test_get_gives_back_what_was_sent(
    archive: Archive, tool: Tool, study: list[Dataset], tmp_path: Path
) -> None:
    run(tool("getscu"), "-S", *archive.peer, "-od", tmp_path, "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}")  # fmt: skip
    found = read_all(tmp_path)
    assert len(found) == COUNT
    assert all(found[image.SOPInstanceUID] == image for image in study)


def test_get_of_a_list_of_instances(
    archive: Archive, tool: Tool, study: list[Dataset], tmp_path: Path
) -> None:
    wanted = [image.SOPInstanceUID for image in study[:3]]
    run(tool("getscu"), "-S", *archive.peer, "-od", tmp_path, "-k", "QueryRetrieveLevel=IMAGE",
        "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}",
        "-k", f"SeriesInstanceUID={study[0].SeriesInstanceUID}",
        "-k", "SOPInstanceUID=" + "\\".join(wanted))  # fmt: skip
    assert sorted(read_all(tmp_path)) == sorted(wanted)


@contextmanager
def receiver(tool: Tool, folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's storescp as a move destination; gives its port."""
    port = free_port()
    folder.mkdir()
    process = subprocess.Popen(
        [str(tool("storescp")), "-od", str(folder), "-aet", "DEST", *options, str(port)], env=ENVIRONMENT
    )
    try:
        wait_until(lambda: is_open(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def gantry(archive: Archive, *arguments: str) -> str:
    """What an operator's command says."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        env=archive.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "options", "compressed"),
    [("PLAIN", (), False), ("J2KONLY", ("+xv",), True)],
    ids=["a receiver without compression", "a receiver that prefers JPEG 2000"],
)
def test_move_sends_the_form_that_the_destination_accepts(
    archive: Archive,
    tool: Tool,
    study: list[Dataset],
    tmp_path: Path,
    name: str,
    options: tuple[str, ...],
    compressed: bool,
) -> None:
    with receiver(tool, tmp_path / "received", *options) as port:
        syntaxes = ("--transfer-syntax", JPEG2000Lossless) if compressed else ()
        gantry(archive, "nodes", "add", name, "127.0.0.1", str(port), *syntaxes)
        assert name in gantry(archive, "nodes", "list")
        assert "answered" in gantry(archive, "nodes", "echo", name)
        said = run(tool("movescu"), "-S", "-d", *archive.peer, "-aem", name, "-k", "QueryRetrieveLevel=STUDY",
                   "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}")  # fmt: skip
        gantry(archive, "nodes", "remove", name)
    assert re.search(rf"Completed Suboperations\s*: {COUNT}", said)
    found = read_all(tmp_path / "received")
    assert len(found) == COUNT
    for image in study:
        got = found[image.SOPInstanceUID]
        assert (got.file_meta.TransferSyntaxUID == JPEG2000Lossless) is compressed
        assert (got.pixel_array == image.pixel_array).all()
        if not compressed:
            assert got == image


def test_move_to_an_unknown_destination_is_answered_a801(
    archive: Archive, tool: Tool, study: list[Dataset]
) -> None:
    done = subprocess.run(
        [tool("movescu"), "-S", "-d", *archive.peer, "-aem", "NOBODY", "-k", "QueryRetrieveLevel=STUDY",
         "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert re.search(r"0xa801", done.stdout + done.stderr, re.I)
