"""``gantry send``: files and folders to a node, and what it says of each."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from services.common.errors import InvalidInstance
from tests.commands import Done, run
from tests.fakes.dimse_archive import MemoryArchive, listening
from tests.fakes.small_dicom import small_file
from tests.integration.query_archive import TakesOnly

IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two instances, one of them deep inside."""
    (tmp_path / "disc" / "deep").mkdir(parents=True)
    (tmp_path / "disc" / "1").write_bytes(small_file(1).getvalue())
    (tmp_path / "disc" / "deep" / "2").write_bytes(small_file(2).getvalue())
    return tmp_path / "disc"


def send(tmp_path: Path, *arguments: object) -> Done:
    environment = {**os.environ, "GANTRY_DATA_DIR": str(tmp_path / "data")}
    return run(environment, *arguments)


def summary(*, sent: int = 0, failed: int = 0, passed_over: int = 0) -> str:
    return f"{sent} sent, 0 sent with a warning, {failed} failed, {passed_over} passed over"


def data_set(path: Path) -> bytes:
    raw = path.read_bytes()
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def test_files_and_folders_arrive_as_they_are(folder: Path, tmp_path: Path) -> None:
    single = Path(str(get_testdata_file("JPEG2000.dcm")))
    archive = MemoryArchive()
    with listening(archive.handlers) as running:
        done = send(tmp_path, "send", f"THERE@127.0.0.1:{running.port}", folder, single)
    assert (done.status, done.out.splitlines()) == (0, [summary(sent=3)]), done
    assert {bytes(stored.data) for stored in archive.stored} == {
        data_set(path) for path in (folder / "1", folder / "deep" / "2", single)
    }
    assert {info.called_aet for info in archive.associations} == {"THERE"}
    assert {stored.command.move_originator_aet for stored in archive.stored} == {None}


def test_what_is_not_sent_is_told_and_fails_the_command(folder: Path, tmp_path: Path) -> None:
    (folder / "readme.txt").write_text("no image")
    (folder / "broken").write_bytes((folder / "1").read_bytes()[:200])
    os.mkfifo(folder / "pipe")
    (folder / "DICOMDIR").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    archive = MemoryArchive(
        refuse_store=lambda command: (
            InvalidInstance("odd") if command.sop_instance_uid == "1.2.3.4.2" else None
        )
    )
    with listening(archive.handlers) as running:
        done = send(tmp_path, "send", f"THERE@127.0.0.1:{running.port}", folder)
    lines = done.out.splitlines()
    assert (done.status, lines[-1]) == (1, summary(sent=1, failed=2, passed_over=3)), done
    told = {tuple(line.split(": ")[:2]) for line in lines[:-1]}
    assert told == {
        ("failed", str(folder / "broken")),
        ("failed", str(folder / "deep" / "2")),
        ("passed over", str(folder / "DICOMDIR")),
        ("passed over", str(folder / "pipe")),
        ("passed over", str(folder / "readme.txt")),
    }
    assert "status C000 odd" in done.out


def test_a_node_that_takes_implicit_alone_gets_pixels_uncompressed(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("JPEG2000.dcm")))
    archive = MemoryArchive()
    with listening(archive.handlers, policy=TakesOnly((IMPLICIT,))) as running:
        done = send(tmp_path, "send", f"THERE@127.0.0.1:{running.port}", path)
    assert (done.status, done.out.splitlines()) == (0, [summary(sent=1)]), done
    (stored,) = archive.stored
    assert stored.context.transfer_syntax == IMPLICIT
    assert len(stored.data) > pydicom.dcmread(path).Rows * pydicom.dcmread(path).Columns


def test_to_a_node_of_the_archive_over_several_associations(folder: Path, tmp_path: Path) -> None:
    for number in range(3, 30):
        (folder / str(number)).write_bytes(small_file(number).getvalue())
    (tmp_path / "data" / "blobs").mkdir(parents=True)
    archive = MemoryArchive()
    with listening(archive.handlers) as running:
        port = running.port
        added = send(tmp_path, "nodes", "add", "THERE", "127.0.0.1", port, "--associations", "3")
        assert added.status == 0, added
        done = send(tmp_path, "send", "THERE", folder)
    assert (done.status, done.out.splitlines()) == (0, [summary(sent=29)]), done
    assert len(archive.stored) == 29


def test_nobody_to_send_to(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = send(tmp_path, "send", f"THERE@127.0.0.1:{port}", folder)
    assert (done.status, done.out.splitlines()[-1]) == (1, summary(failed=2))
    assert "cannot be reached" in done.out
    assert send(tmp_path, "send", "NOBODY", folder).status == 1
    assert "no node NOBODY" in send(tmp_path, "send", "NOBODY", folder).errors
    assert send(tmp_path, "send", "A@127.0.0.1:99999", folder).status == 1
    assert send(tmp_path, "nodes", "add", "X", "127.0.0.1", "104", "--associations", "99").status == 1
