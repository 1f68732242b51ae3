"""``gantry import``: files and folders beside a running archive, and what it says of each."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

from services.common.adapters.postgres import Postgres
from services.common.catalog.reader import PostgresCatalogReader
from services.common.settings import CommonSettings
from services.up import embedded
from tests.archive import Archive, start_archive
from tests.commands import gantry, on_a_terminal
from tests.senders import made_study, written
from tests.waiting import wait_until

PIPE = "a-pipe"


def summary(*, taken: int = 0, known: int = 0, refused: int = 0, passed_over: int = 0) -> str:
    """The last line that an import says."""
    return f"{taken} taken, {known} already here, {refused} refused, {passed_over} passed over"


def last_line(said: str) -> str:
    return said.splitlines()[-1]


def read_study(path: Path) -> str:
    """The Study Instance UID of a file."""
    return str(dcmread(path).StudyInstanceUID)


def held(archive: Archive) -> set[str]:
    """The ids of what the quarantine holds."""
    return {entry["id"] for entry in archive.json("/api/quarantine?limit=1000")}


def served(archive: Archive, study: str) -> int:
    """How many instances the archive lists in a study."""
    return len(archive.json(f"/dicom-web/studies/{study}/instances") or ())


def test_files_and_folders_are_taken_and_known_the_next_time(archive: Archive, tmp_path: Path) -> None:
    images = made_study(7)
    paths = written(images, tmp_path / "disc" / "deep" / "folder")
    single = tmp_path / "single.dcm"
    paths[0].rename(single)

    first = gantry(archive, "import", tmp_path / "disc", single)
    assert (first.status, last_line(first.out)) == (0, summary(taken=7)), first
    assert "importing" not in first.out
    archive.wait_for_instances(7)
    again = gantry(archive, "import", tmp_path)
    assert (again.status, last_line(again.out)) == (0, summary(known=7)), again
    assert served(archive, images[0].StudyInstanceUID) == 7


def test_the_same_file_twice_in_one_import_is_taken_once(archive: Archive, tmp_path: Path) -> None:
    (path,) = written(made_study(1), tmp_path)
    shutil.copy(path, tmp_path / "copy")
    done = gantry(archive, "import", tmp_path)
    assert last_line(done.out) == summary(taken=1, known=1)


def test_what_is_refused_is_told_with_its_reason_and_fails_the_command(
    archive: Archive, tmp_path: Path
) -> None:
    (good,) = written(made_study(1), tmp_path)
    nameless, cut = made_study(2)
    del nameless.StudyInstanceUID
    nameless.save_as(tmp_path / "nameless.dcm", enforce_file_format=True)
    cut.save_as(tmp_path / "cut.dcm", enforce_file_format=True)
    with (tmp_path / "cut.dcm").open("r+b") as file:
        file.truncate((tmp_path / "cut.dcm").stat().st_size - 100)
    before = held(archive)

    done = gantry(archive, "import", tmp_path)
    assert done.status == 1
    assert last_line(done.out) == summary(taken=1, refused=2), done
    lines = done.out.splitlines()[:-1]
    assert [line.split(": ")[:2] for line in lines] == [
        ["refused", str(tmp_path / name)] for name in ("cut.dcm", "nameless.dcm")
    ]
    size = len(cut.PixelData)
    assert f"(7FE0,0010) is cut short: {size - 100} of {size} bytes came" in lines[0]
    assert "(0020,000D)" in lines[1]
    assert str(good) not in done.out
    assert len(held(archive) - before) == 2

    wait_until(lambda: served(archive, read_study(good)) == 1)
    again = gantry(archive, "import", tmp_path)
    assert last_line(again.out) == summary(known=1, refused=2), again
    assert again.out.splitlines()[:-1] == lines
    assert len(held(archive) - before) == 2


def test_what_is_no_dicom_file_is_passed_over_and_kept_nowhere(archive: Archive, tmp_path: Path) -> None:
    written(made_study(1), tmp_path)
    (tmp_path / "notes.txt").write_text("not DICOM at all\n" * 50)
    (tmp_path / "empty").touch()
    (tmp_path / "list").write_bytes(b"\x08\x00\x05\x00CS" + b"looks like an element" * 20)
    before = held(archive)
    done = gantry(archive, "import", tmp_path)
    assert (done.status, last_line(done.out)) == (0, summary(taken=1, passed_over=3)), done
    for line, name in zip(done.out.splitlines()[:-1], ("empty", "list", "notes.txt"), strict=True):
        assert line.startswith(f"passed over: {tmp_path / name}: not a DICOM file: ")
    assert held(archive) == before


def test_a_folder_with_several_versions_of_an_image_is_known_the_next_time(
    archive: Archive, tmp_path: Path
) -> None:
    images = made_study(2)
    for number in range(3):
        for image in images:
            image.StudyDescription = f"version {number}"
        written(images, tmp_path / f"version-{number}")
    first = gantry(archive, "import", tmp_path)
    assert last_line(first.out) == summary(taken=6), first
    uids = {image.SOPInstanceUID for image in images}
    settings = embedded(CommonSettings(data_dir=archive.data_dir))
    catalog = PostgresCatalogReader(Postgres(settings.postgres))
    wait_until(lambda: len(catalog.known(uids)) == 6)
    again = gantry(archive, "import", tmp_path)
    assert (again.status, last_line(again.out)) == (0, summary(known=6)), again


def test_a_directory_of_other_files_is_passed_over(archive: Archive, tmp_path: Path) -> None:
    (path,) = written(made_study(1), tmp_path)
    directory = made_study(1)[0]
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PixelData"):
        delattr(directory, keyword)
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    done = gantry(archive, "import", tmp_path)
    assert (done.status, last_line(done.out)) == (0, summary(taken=1, passed_over=1)), done
    assert f"passed over: {tmp_path / 'DICOMDIR'}: " in done.out
    assert path.name not in done.out


def test_pipes_and_devices_are_passed_over_and_never_waited_for(archive: Archive, tmp_path: Path) -> None:
    written(made_study(1), tmp_path)
    os.mkfifo(tmp_path / PIPE)
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    done = gantry(archive, "import", tmp_path)
    assert done.status == 1
    assert last_line(done.out) == summary(taken=1, refused=1, passed_over=3), done
    assert f"passed over: {tmp_path / PIPE}: no regular file" in done.out
    assert f"refused: {tmp_path / 'gone'}: No such file or directory" in done.out
    named = gantry(archive, "import", tmp_path / PIPE)
    assert (named.status, last_line(named.out)) == (0, summary(passed_over=1))


def test_a_name_that_is_no_text_is_told_in_one_line(archive: Archive, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x1b[31m\nbroken"
    with open(name, "wb") as file:  # noqa: PTH123 - a Path cannot be made of it as plainly
        file.write(b"nothing")
    done = gantry(archive, "import", tmp_path)
    assert (done.status, len(done.out.splitlines())) == (0, 2), done
    assert "\x1b" not in done.out


def test_a_path_that_does_not_exist_is_told_before_anything_is_taken(
    archive: Archive, tmp_path: Path
) -> None:
    (path,) = written(made_study(1), tmp_path)
    done = gantry(archive, "import", path, tmp_path / "nowhere")
    assert (done.status, done.out) == (1, "")
    assert done.errors == f"gantry: {tmp_path / 'nowhere'}: there is no such file or folder\n"


def test_a_terminal_shows_how_far_it_is(archive: Archive, tmp_path: Path) -> None:
    written(made_study(3), tmp_path)
    done = on_a_terminal(archive, "import", tmp_path, columns=80)
    assert done.status == 0
    assert re.search(r"importing.*3/3", done.out), done.out
    assert done.out.rstrip().endswith(summary(taken=3))


def test_an_archive_that_does_not_run_is_told_in_one_line(tmp_path: Path) -> None:
    written(made_study(1), tmp_path / "files")
    archive = start_archive(tmp_path)
    assert archive.stop() == 0
    for data_dir in (archive.data_dir, tmp_path / "never"):
        done = gantry(archive, "import", tmp_path / "files", GANTRY_DATA_DIR=str(data_dir))
        assert done.status == 1
        assert len(done.errors.splitlines()) == 1, done
        assert done.errors.startswith("gantry: ")
        assert "gantry up" in done.errors
