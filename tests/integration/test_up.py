"""``gantry up`` as its user meets it: what it says, how it ends and starts again, and what it refuses."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind

from tests.archive import Archive, end, start_archive
from tests.commands import Done, gantry, run
from tests.senders import Modality, made_study, park, written
from tests.waiting import PATIENCE_SECONDS, wait_until


def refused(folder: Path, **settings: str) -> Done:
    """An `up` that does not come up."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GANTRY_")}
    ports = {"GANTRY_DICOM__PORT": "0", "GANTRY_HTTP__PORT": "0"}
    done = run({**environment, "GANTRY_DATA_DIR": str(folder), **ports, **settings}, "up")
    assert done.status == 1, done
    assert done.errors.splitlines()[-1].startswith("gantry: "), done
    return done


def complaint(done: Done) -> str:
    """The last line, which is the one that says why."""
    return done.errors.splitlines()[-1]


def test_it_says_what_it_started_and_ends_well_and_starts_again_with_all_the_data(tmp_path: Path) -> None:
    archive = start_archive(tmp_path)
    try:
        said = archive.said()
        assert f"its data lies in {archive.data_dir}" in said
        for line in (
            f"  DICOM    GANTRY on 127.0.0.1:{archive.dicom_port}",
            f"  Web      {archive.url}/",
            f"  Data     {archive.data_dir}",
            f"Then open {archive.url}/",
        ):
            assert line in said
        images = made_study(10)
        Modality(port=archive.dicom_port).send(images)
        archive.wait_for_instances(10)
        assert stat.S_IMODE(archive.data_dir.stat().st_mode) == 0o700

        assert archive.stop() == 0
        assert archive.said().rstrip().endswith("Gantry has stopped; the next start has all the data")
        assert archive.processes(str(archive.data_dir)) == []

        archive = start_archive(tmp_path)
        assert archive.instances() == 10
        uid = images[3].SOPInstanceUID
        status, body, _ = archive.get(
            f"/wado?requestType=WADO&studyUID={images[3].StudyInstanceUID}"
            f"&seriesUID={images[3].SeriesInstanceUID}&objectUID={uid}&contentType=application/dicom"
        )
        assert status == 200
        assert uid.encode() in body
    finally:
        end(archive)


def test_what_it_proposes_works_as_it_stands(tmp_path: Path, tool: Callable[[str], Path]) -> None:
    folder = tmp_path / "my images"
    folder.mkdir()
    images = made_study(3)
    images[0].compress(RLELossless)
    written(images, folder)
    (folder / "notes.txt").write_text("no DICOM file")
    programs = {str(tool(name).parent) for name in ("dcmsend", "findscu")}
    (tmp_path / "an archive").mkdir()
    archive = start_archive(tmp_path / "an archive", GANTRY_DICOM__AE_TITLE="MY PACS")
    try:
        # Another shell: whatever it needs of the settings is in the lines.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
        shell = {**inherited, "PATH": os.pathsep.join([*programs, os.environ["PATH"]])}
        lines = re.findall(r"^  (.*(?: FOLDER|StudyInstanceUID))$", archive.said(), re.MULTILINE)
        assert len(lines) == 3, lines
        told = {}
        for line in (lines[0], lines[2], lines[1], lines[2]):
            words = line.replace("FOLDER", shlex.quote(str(folder)))
            done = subprocess.run(
                ["/bin/sh", "-c", words], env=shell, cwd="/", capture_output=True, text=True, timeout=90,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, (words, done)
            told[line] = done.stdout + done.stderr
            archive.wait_for_instances(3)
        assert str(images[0].StudyInstanceUID) in told[lines[2]]
    finally:
        end(archive)


def test_ctrl_c_while_it_starts_ends_it(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GANTRY_")}
    environment |= {
        "GANTRY_DATA_DIR": str(tmp_path / "data"), "GANTRY_DICOM__PORT": "0", "GANTRY_HTTP__PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "up"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline().decode()
    assert "Gantry starts" in first
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said.decode()
    assert "Traceback" not in said.decode()
    assert "Gantry is ready" not in said.decode()


@pytest.mark.parametrize(
    ("setting", "what"), [("GANTRY_DICOM__PORT", "DICOM"), ("GANTRY_HTTP__PORT", "HTTP")]
)
def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path, setting: str, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = refused(tmp_path / "data", **{setting: str(port)})
    assert complaint(done) == f"gantry: {what} cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_second_one_on_the_same_folder_is_refused(archive: Archive) -> None:
    done = refused(archive.data_dir)
    pid = archive.process.pid
    assert complaint(done) == f"gantry: the archive in {archive.data_dir} is in use by process {pid}"
    assert archive.get("/readyz")[0] == 200


def test_two_archives_run_side_by_side(archive: Archive, fresh_archive: Archive) -> None:
    mine, theirs = made_study(3), made_study(2)
    Modality(port=fresh_archive.dicom_port).send(mine)
    Modality(port=archive.dicom_port).send(theirs)
    fresh_archive.wait_for_instances(3)
    assert fresh_archive.instances() == 3
    study = theirs[0].StudyInstanceUID
    assert fresh_archive.json(f"/dicom-web/studies?StudyInstanceUID={study}") in (None, [])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("GANTRY_HTTP__PORT", "abc"), ("GANTRY_DICOM__PORT", "70000"), ("GANTRY_STORE__KIND", "tape"),
     ("GANTRY_DICOM__AE_TITLE", "LONGER-THAN-16-LETTERS"), ("GANTRY_LOG__LEVEL", "LOUD")],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named_in_one_line(tmp_path: Path, setting: str, value: str) -> None:
    done = refused(tmp_path / "data", **{setting: value})
    assert done.errors.count("\n") == 1
    assert complaint(done).startswith(f"gantry: {setting}: ")
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = refused(tmp_path / "file" / "data")
    assert done.errors.count("\n") == 1
    assert str(tmp_path / "file" / "data") in complaint(done)


def test_http_beyond_loopback_needs_a_token(tmp_path: Path) -> None:
    done = refused(tmp_path / "data", GANTRY_HTTP__HOST="0.0.0.0")
    assert done.errors.count("\n") == 1
    assert "GANTRY_HTTP__BEARER_TOKEN" in complaint(done)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive that is reachable from everywhere, with a token, on a data folder with a long name."""
    folder = tmp_path_factory.mktemp("guarded") / ("a-folder-with-a-long-name-" * 4)
    folder.mkdir()
    archive = start_archive(folder, GANTRY_HTTP__HOST="0.0.0.0", GANTRY_HTTP__BEARER_TOKEN="a-long-secret",
                            GANTRY_HEALTH__PORT="1")  # fmt: skip
    yield archive
    end(archive)


def test_a_token_is_asked_for_and_works(guarded: Archive) -> None:
    assert guarded.get("/dicom-web/studies")[0] == 401
    assert guarded.get("/metrics")[0] == 401
    assert guarded.get("/dicom-web/studies", Authorization="Bearer another")[0] == 401
    assert guarded.get("/dicom-web/studies", Authorization="Bearer a-long-secret")[0] in (200, 204)
    assert guarded.get("/healthz")[0] == 200
    assert "a-long-secret" not in guarded.said()


def test_a_long_data_folder_serves_the_commands_too(guarded: Archive, tmp_path: Path) -> None:
    written(made_study(2), tmp_path)
    assert gantry(guarded, "import", tmp_path).out.startswith("2 taken")
    wait_until(lambda: b'"00201208"' in guarded.get(
        "/dicom-web/studies", Authorization="Bearer a-long-secret")[1])  # fmt: skip


MARKS = ("Zzyzx", "Quixote^Marker", "PID-4711-MARKER", "19330201", "ACC-MARKER-9")


def marked() -> list[Dataset]:
    """Two images of a patient whose every identifier is a word that is nowhere else."""
    images = made_study(2, patient_id=MARKS[2])
    for image in images:
        image.PatientName, image.PatientBirthDate, image.AccessionNumber = MARKS[1], MARKS[3], MARKS[4]
        image.PatientComments = MARKS[0]
    return images


def test_no_patient_data_is_logged_counted_or_in_a_key(archive: Archive, tmp_path: Path) -> None:
    images = marked()
    Modality(port=archive.dicom_port).send(images)
    study = images[0].StudyInstanceUID
    wait_until(lambda: len(archive.json(f"/dicom-web/studies/{study}/instances") or ()) == 2)
    nameless = marked()[0]
    del nameless.SeriesInstanceUID
    ae = AE(ae_title="MARKER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = ae.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY")
    assert park(association).send_c_store(nameless).Status == 0xA900
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.PatientName, identifier.PatientID, identifier.AccessionNumber = MARKS[1], MARKS[2], MARKS[4]
    identifier.StudyInstanceUID = ""
    answers = list(park(association).send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    assert [status.Status for status, _ in answers] == [0xFF00, 0x0000]
    identifier.PatientBirthDate = MARKS[3]
    identifier.QueryRetrieveLevel = MARKS[0].upper()
    list(park(association).send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    association.release()

    for path in (
        f"/dicom-web/studies?PatientID={MARKS[2]}&PatientName={MARKS[1]}",
        f"/dicom-web/studies?PatientBirthDate={MARKS[3]}x&AccessionNumber={MARKS[4]}",
        f"/dicom-web/studies?{MARKS[0]}={MARKS[1]}",
        f"/dicom-web/studies/{study}/metadata",
        f"/dicom-web/studies/{study}/rendered",
        f"/dicom-web/studies/{MARKS[0]}",
        f"/wado?requestType=WADO&studyUID={MARKS[0]}&seriesUID=1&objectUID=1",
        f"/?q={MARKS[1]}",
    ):
        archive.get(path)
    (tmp_path / f"{MARKS[2]}.dcm").write_bytes(b"DICM" + MARKS[1].encode())
    gantry(archive, "import", tmp_path)
    post(archive, "/dicom-web/studies", MARKS[1].encode())

    _, metrics, _ = archive.get("/metrics")
    keys = "\n".join(str(path.relative_to(archive.data_dir)) for path in archive.data_dir.rglob("*"))
    logs = [path.read_text(errors="replace") for path in archive.data_dir.rglob("*.log*") if path.is_file()]
    for place in (archive.said(), metrics.decode(), keys, *logs):
        found = [mark for mark in MARKS if mark in place]
        assert not found, [line for line in place.splitlines() if any(mark in line for mark in found)][:5]


def post(archive: Archive, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    """Post something that is no instance; the status."""
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x', **(headers or {})}
    request = urllib.request.Request(archive.url + path, data=body, headers=kind, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
