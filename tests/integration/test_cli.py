"""What an operator does from a shell: nodes and the quarantine of a running archive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from services.common.adapters.celery_bus import CeleryBus, queue_app
from services.common.adapters.files import FolderStore
from services.common.events import INDEX_TASK, InstancesStored
from services.common.intake import Intake
from services.common.model import Route, Source, StoredInstance
from services.common.quarantine import StoreQuarantine
from services.embedded.redis import redis_settings
from tests.archive import Archive
from tests.commands import gantry, on_a_terminal
from tests.senders import made_study, written
from tests.servers_s3 import free_port
from tests.waiting import wait_until

ENTRY = re.compile(r"^[0-9a-f]{32}$", re.MULTILINE)


class Told(list[StoredInstance]):
    """A publisher that keeps what it is to tell."""

    def offer(self, stored: StoredInstance) -> None:
        """Keep it."""
        self.append(stored)


def held(archive: Archive) -> dict[str, list[str]]:
    """The lines of `gantry quarantine list`, by id."""
    done = gantry(archive, "quarantine", "list", "--limit", 1000)
    assert done.status == 0, done
    return {line.split("\t")[0]: line.split("\t")[1:] for line in done.out.splitlines()}


def refuse_one(archive: Archive, folder: Path) -> str:
    """Import a file without a Study Instance UID; the id of its entry."""
    before = held(archive)
    image = made_study(1)[0]
    del image.StudyInstanceUID
    folder.mkdir()
    image.save_as(folder / "nameless.dcm", enforce_file_format=True)
    assert gantry(archive, "import", folder).status == 1
    (entry_id,) = held(archive).keys() - before.keys()
    return entry_id


def one_line(done_errors: str) -> str:
    """The only line of what a command complained of."""
    (line,) = done_errors.splitlines()
    assert line.startswith("gantry: "), line
    return line


def test_nodes_are_added_listed_echoed_and_removed(archive: Archive) -> None:
    peer = AE(ae_title="PEER")
    peer.add_supported_context(Verification)
    server = peer.start_server(("127.0.0.1", 0), block=False)
    port = server.socket.getsockname()[1]
    try:
        added = gantry(
            archive, "nodes", "add", "PEER", "127.0.0.1", port,
            "--description", "[red]a peer[/red]", "--default-issuer", "HOSPITAL A",
        )  # fmt: skip
        assert (added.status, added.out) == (0, f"PEER is 127.0.0.1:{port}\n"), added
        listed = gantry(archive, "nodes", "list").out.splitlines()
        assert f"PEER\t127.0.0.1\t{port}\t[red]a peer[/red]\tHOSPITAL A" in listed
        echoed = gantry(archive, "nodes", "echo", "PEER")
        assert (echoed.status, re.sub(r"\d+", "N", echoed.out)) == (0, "PEER answered after N ms\n"), echoed
    finally:
        server.shutdown()
    assert "PEER" in one_line(gantry(archive, "nodes", "echo", "PEER").errors)
    removed = gantry(archive, "nodes", "remove", "PEER")
    assert (removed.status, removed.out) == (0, "PEER is removed\n")
    assert "PEER" not in gantry(archive, "nodes", "list").out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nodes", "add", "TWICE", "127.0.0.1", 104), "TWICE is known already"),
        (("nodes", "add", "MUCH-TOO-LONG-A-TITLE", "127.0.0.1", 104), "AE title"),
        (("nodes", "add", "OTHER", "no host", 104), "host"),
        (("nodes", "add", "OTHER", "127.0.0.1", 0), "port"),
        (("nodes", "remove", "NOBODY"), "no node NOBODY is known"),
        (("nodes", "echo", "NOBODY"), "no node NOBODY is known"),
        (("nodes", "echo", "TWICE"), "TWICE"),
        (("quarantine", "show", "0" * 32), "0" * 32),
        (("quarantine", "show", "../../etc/passwd"), "32 hex digits"),
        (("quarantine", "retry", "0" * 32), "0" * 32),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_status_1(
    archive: Archive, arguments: tuple[object, ...], complaint: str
) -> None:
    gantry(archive, "nodes", "add", "TWICE", "127.0.0.1", free_port())
    done = gantry(archive, *arguments)
    assert (done.status, done.out) == (1, "")
    assert complaint in one_line(done.errors)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nodes", "list"),
        ("nodes", "add", "CT1", "127.0.0.1", 104),
        ("nodes", "echo", "CT1"),
        ("quarantine", "list"),
        ("quarantine", "retry", "0" * 32),
        ("conflicts",),
        ("import", "."),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_folder_without_an_archive_is_told_and_stays_as_it_is(
    archive: Archive, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    mistyped = tmp_path / "mistyped"
    done = gantry(archive, *arguments, GANTRY_DATA_DIR=str(mistyped))
    assert (done.status, done.out) == (1, ""), done
    assert f"{mistyped} (GANTRY_DATA_DIR) holds no archive" in one_line(done.errors)
    assert not mistyped.exists()


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_tables_on_a_terminal_show_ids_whole(archive: Archive, tmp_path: Path, columns: int) -> None:
    entry_id = refuse_one(archive, tmp_path / "refused")
    title = "SIXTEEN-LETTERS-"
    gantry(archive, "nodes", "add", title, "a-host-with-a-long-name.hospital.example", 104)
    assert entry_id in on_a_terminal(archive, "quarantine", "list", "--limit", 1000, columns=columns).out
    assert title in on_a_terminal(archive, "nodes", "list", columns=columns).out


def test_a_refused_object_is_listed_shown_and_refused_again(archive: Archive, tmp_path: Path) -> None:
    entry_id = refuse_one(archive, tmp_path / "refused")
    _, kind, tag, reason = held(archive)[entry_id]
    assert (kind, tag) == ("instance", "(0020,000D)")
    assert "Study Instance UID is missing" in reason
    shown = gantry(archive, "quarantine", "show", entry_id)
    assert shown.status == 0
    assert reason in shown.out
    assert re.search(r"bytes: \d+ in \S+/quarantine/", shown.out)

    before = held(archive).keys()
    again = gantry(archive, "quarantine", "retry", entry_id)
    assert (again.status, again.out) == (1, ""), again
    assert one_line(again.errors) == f"gantry: refused again: {reason}"
    assert held(archive).keys() == before


def test_a_poisoned_message_is_listed_and_told_again_once_what_was_in_its_way_is_gone(
    archive: Archive, tmp_path: Path
) -> None:
    (image,) = made_study(1)
    (path,) = written([image], tmp_path)
    store = FolderStore(archive.data_dir / "blobs")
    told = Told()
    with path.open("rb") as stream:
        Intake(store, told, StoreQuarantine(store)).accept_file(
            stream, Source(route=Route.IMPORT, calling_aet="", called_aet="GANTRY")
        )
    (blob,) = (archive.data_dir / "blobs").rglob(f"{Path(told[0].blob.key).name}*")
    aside = blob.rename(tmp_path / "aside")
    before = held(archive).keys()
    bus = CeleryBus(redis_settings(archive.data_dir))
    bus.publish(InstancesStored(instances=tuple(told)))
    bus.close()
    wait_until(lambda: len(held(archive).keys() - before) == 1)
    (entry_id,) = held(archive).keys() - before
    assert "transcode" in held(archive)[entry_id][1]

    aside.rename(blob)
    done = gantry(archive, "quarantine", "retry", entry_id)
    assert (done.status, done.out.startswith("told again: ")) == (0, True), done
    assert entry_id not in held(archive)
    frames = (
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}/frames/1"
    )
    wait_until(lambda: archive.get(frames, Accept='multipart/related; type="image/jp2"')[0] == 200)


def test_a_message_that_is_no_event_is_held_and_can_be_shown(archive: Archive) -> None:
    before = held(archive).keys()
    app = queue_app("index", redis_settings(archive.data_dir), {})
    app.send_task(INDEX_TASK, args=["no event [at] all"], exchange="", routing_key="index")
    app.close()
    wait_until(lambda: len(held(archive).keys() - before) == 1)
    (entry_id,) = held(archive).keys() - before
    shown = gantry(archive, "quarantine", "show", entry_id)
    assert shown.out.endswith("no event [at] all\n")
    assert "event" in one_line(gantry(archive, "quarantine", "retry", entry_id).errors)
    assert entry_id in held(archive)


def test_a_long_list_says_how_to_go_on(archive: Archive, tmp_path: Path) -> None:
    entries = sorted([refuse_one(archive, tmp_path / "one"), refuse_one(archive, tmp_path / "two")])
    done = gantry(archive, "quarantine", "list", "--after", entries[0], "--limit", 1)
    assert ENTRY.findall(done.out.replace("\t", "\n")) == [entries[1]]
    assert done.errors == f"there may be more: --after {entries[1]}\n"


def test_conflicts_are_listed_a_line_for_each_study(archive: Archive, tmp_path: Path) -> None:
    studies = [made_study(1)[0], made_study(1)[0]]
    for image, sex in zip(studies, "FM", strict=True):
        image.PatientID, image.PatientName, image.PatientSex = "CONTRADICTS", "Doe^Alex", sex
        image.PatientBirthDate = "19700101"
        image.save_as(tmp_path / f"{sex}.dcm", enforce_file_format=True)
    assert gantry(archive, "import", tmp_path).status == 0
    uids = {str(image.StudyInstanceUID) for image in studies}

    def told() -> set[tuple[str, ...]]:
        done = gantry(archive, "conflicts", "--kind", "two-people")
        assert done.status == 0, done
        lines = (tuple(line.split("\t")) for line in done.out.splitlines())
        return {line for line in lines if line[0] in uids}

    wait_until(lambda: len(told()) == 2, 90, lambda: f"{told()}")
    assert {line[1:] for line in told()} == {
        ("two-people", "CONTRADICTS", "", "Doe^Alex", "19700101", sex, "1", "0") for sex in "FM"
    }
    (told_of,) = [
        one for one in archive.json("/api/conflicts/two-people") if one["subject"] == "|CONTRADICTS"
    ]
    assert {study["study_instance_uid"] for study in told_of["studies"]} == uids
    refused = gantry(archive, "conflicts", "--kind", "quarrels")
    assert refused.status == 2 and "two-people" in refused.errors
