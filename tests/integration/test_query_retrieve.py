"""C-FIND, C-MOVE and C-GET by real clients against a real catalog, store and codecs."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt

from services.common.adapters.postgres import Postgres
from services.common.catalog.migrate import migrate
from services.common.dimse.acceptor import AcceptedContext, AssociationLost, Command
from services.common.dimse.lane import Ending
from services.common.pixels.pool import CodecPool
from tests.fakes.dimse_archive import MemoryArchive, Stored
from tests.integration.query_archive import QueryArchive, TakesOnly
from tests.servers import TestPostgres

FindTool = Callable[[str], Path]
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG2000, JPEG2000_ANY, JPEG = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
)
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
# Uncompressed explicit and implicit, big endian, JPEG 2000, lossy JPEG, RLE, an SR and a plan.
NAMES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "MR_small_RLE.dcm",
    "test-SR.dcm",
    "rtplan.dcm",
    "examples_jpeg2k.dcm",
)


@pytest.fixture(scope="module")
def archive(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryArchive]:
    """One study of every kind that pydicom brings along, renditions made."""
    folder = tmp_path_factory.mktemp("archive")
    files = []
    for number, name in enumerate(NAMES):
        found = get_testdata_file(name)
        assert isinstance(found, str), name
        data_set = pydicom.dcmread(found)
        data_set.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
        data_set.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.1.{data_set.SOPClassUID[-3:].strip('.')}"
        data_set.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.2.{number + 1}"
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        data_set.PatientID, data_set.PatientName = "P1", "Doe^John"
        data_set.PatientBirthDate, data_set.PatientSex = "19700101", "M"
        data_set.save_as(folder / name)
        files.append(folder / name)
    settings = postgres.fresh_database()
    opened = Postgres(settings)
    migrate(opened)
    pool = CodecPool()
    made = QueryArchive(folder, opened, pool)
    made.take(files, renditions=True)
    with made.serving():
        yield made
    pool.close()
    opened.close()
    postgres.drop(settings)


def run(program: Path, *arguments: object) -> str:
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def keys(**values: str) -> Dataset:
    asked = Dataset()
    for keyword, value in values.items():
        setattr(asked, keyword, value)
    return asked


STUDY = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.826.0.1.3680043.8.498.1")


def move(
    archive: QueryArchive, destination: str, asked: Dataset = STUDY
) -> list[tuple[Dataset, Dataset | None]]:
    ae = AE(ae_title="WORKSTATION")
    ae.add_requested_context(f"{STUDY_ROOT}.2")
    association = ae.associate("127.0.0.1", archive.port, ae_title="GANTRY")
    assert association.is_established
    responses = list(association.send_c_move(asked, destination, f"{STUDY_ROOT}.2", msg_id=42))
    association.release()
    return responses


def get(
    archive: QueryArchive, contexts: dict[str, list[list[str]]], *, roles: bool | None = True
) -> tuple[list[tuple[Dataset, Dataset | None]], dict[str, tuple[str, bytes]]]:
    """C-GET the study; what was answered, and transfer syntax and data set of each object that came."""
    received: dict[str, tuple[str, bytes]] = {}

    def keep(event: Any) -> int:
        received[event.request.AffectedSOPInstanceUID] = (
            event.context.transfer_syntax,
            event.request.DataSet.getvalue(),
        )
        return 0x0000

    ae = AE(ae_title="WORKSTATION")
    ae.add_requested_context(f"{STUDY_ROOT}.3")
    proposed = [build_context(f"{STUDY_ROOT}.3")]
    proposed += [build_context(uid, syntaxes) for uid, lists in contexts.items() for syntaxes in lists]
    association = ae.associate(
        "127.0.0.1",
        archive.port,
        contexts=proposed,
        ext_neg=[build_role(uid, scp_role=True, scu_role=False) for uid in contexts] if roles else [],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert association.is_established
    responses = list(association.send_c_get(STUDY, f"{STUDY_ROOT}.3"))
    association.release()
    return responses, received


def classes(archive: QueryArchive) -> set[str]:
    return {stored.sop_class_uid for stored in archive.taken.values()}


def as_stored(archive: QueryArchive, uid: str) -> tuple[str, bytes]:
    return archive.taken[uid].transfer_syntax_uid, archive.data_set(uid)


def pixels(syntax: str, data_set: bytes) -> Any:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(out, meta, enforce_standard=False)
    return pydicom.dcmread(io.BytesIO(b"\0" * 128 + b"DICM" + out.getvalue() + data_set)).pixel_array


@pytest.mark.parametrize(
    ("model", "level", "asked", "expected"),
    [
        ("-P", "PATIENT", ("PatientName=doe*", "PatientID", "NumberOfPatientRelatedInstances"), ["[9 ]"]),
        ("-S", "STUDY", ("PatientName=DOE^JOHN", "ModalitiesInStudy"), ["CT", "MR", "SR"]),
        ("-S", "STUDY", ("ModalitiesInStudy=SR\\OT", "NumberOfStudyRelatedInstances"), ["[9 ]"]),
        ("-S", "SERIES", ("StudyInstanceUID=1.2.826.0.1.3680043.8.498.1", "Modality=MR",
                          "NumberOfSeriesRelatedInstances"), ["[MR]"]),
        ("-S", "IMAGE", ("StudyInstanceUID=1.2.826.0.1.3680043.8.498.1", "SOPInstanceUID", "Manufacturer"),
         ["GE MEDICAL SYSTEMS"]),
    ],
)  # fmt: skip
def test_findscu(
    archive: QueryArchive, tool: FindTool, model: str, level: str, asked: tuple[str, ...], expected: list[str]
) -> None:
    options = [part for key in (f"QueryRetrieveLevel={level}", *asked) for part in ("-k", key)]
    said = run(tool("findscu"), "-v", model, *options, "127.0.0.1", archive.port)
    for text in expected:
        assert text in said


def test_findscu_is_told_what_is_wrong(archive: QueryArchive, tool: FindTool) -> None:
    said = run(
        tool("findscu"), "-d", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyDate=soon",
        "127.0.0.1", archive.port,
    )  # fmt: skip
    assert "0xa900" in said.lower()
    assert "(0008,0020)" in said


def test_getscu_gets_all_that_it_can_take(archive: QueryArchive, tool: FindTool, tmp_path: Path) -> None:
    run(
        tool("getscu"), "-S", "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={STUDY.StudyInstanceUID}", "-od", tmp_path, "127.0.0.1", archive.port,
    )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == len(NAMES)


def test_one_context_with_ten_syntaxes_still_gets_everything(archive: QueryArchive) -> None:
    syntaxes = [JPEG2000, JPEG2000_ANY, JPEG, "1.2.840.10008.1.2.5", IMPLICIT, EXPLICIT]
    responses, received = get(archive, {uid: [syntaxes] for uid in classes(archive)})
    assert responses[-1][0].Status == 0x0000
    assert received.keys() == archive.taken.keys()
    assert {syntax for syntax, _ in received.values()} == {EXPLICIT}
    for uid, (syntax, data_set) in received.items():
        stored_syntax, original = as_stored(archive, uid)
        if stored_syntax == EXPLICIT:
            assert data_set == original
        elif b"\xe0\x7f\x10\x00" in data_set and stored_syntax != JPEG:
            assert (pixels(syntax, data_set) == pixels(stored_syntax, original)).all()


@pytest.mark.parametrize("backwards", [False, True])
def test_each_syntax_in_a_context_of_its_own_gets_everything_as_it_is(
    archive: QueryArchive, backwards: bool
) -> None:
    stored = sorted({i.transfer_syntax_uid for i in archive.taken.values()}, reverse=backwards)
    responses, received = get(archive, {uid: [[syntax] for syntax in stored] for uid in classes(archive)})
    assert responses[-1][0].Status == 0x0000
    assert received == {uid: as_stored(archive, uid) for uid in archive.taken}


def test_getting_without_a_context_fails_what_has_none(archive: QueryArchive) -> None:
    ct = "1.2.840.10008.5.1.4.1.1.2"
    responses, _ = get(archive, {ct: [[EXPLICIT, IMPLICIT]]})
    last, identifier = responses[-1]
    assert last.Status == 0xB000
    count = sum(stored.sop_class_uid == ct for stored in archive.taken.values())
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (
        count,
        len(NAMES) - count,
    )
    assert identifier is not None
    assert len(identifier.FailedSOPInstanceUIDList) == len(NAMES) - count


def test_a_move_gives_a_node_that_takes_everything_the_stored_bytes(archive: QueryArchive) -> None:
    with archive.node("KEEPER") as receiver:
        responses = move(archive, "KEEPER")
    assert {
        stored.command.sop_instance_uid: (stored.context.transfer_syntax, bytes(stored.data))
        for stored in receiver.stored
    } == {uid: as_stored(archive, uid) for uid in archive.taken}
    last = responses[-1][0]
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, len(NAMES))
    for status, _ in responses[:-1]:
        assert status.Status == 0xFF00
        assert len(NAMES) == sum(
            (
                status.NumberOfRemainingSuboperations,
                status.NumberOfCompletedSuboperations,
                status.NumberOfFailedSuboperations,
                status.NumberOfWarningSuboperations,
            )
        )
    assert {s.command.move_originator_aet for s in receiver.stored} == {"WORKSTATION"}
    assert {s.command.move_originator_message_id for s in receiver.stored} == {42}


def test_a_move_decompresses_for_a_node_that_takes_implicit_alone(archive: QueryArchive) -> None:
    with archive.node("OLD", TakesOnly((IMPLICIT,))) as receiver:
        responses = move(archive, "OLD")
    assert responses[-1][0].Status == 0x0000
    assert {stored.context.transfer_syntax for stored in receiver.stored} == {IMPLICIT}
    assert len(receiver.stored) == len(NAMES)


def test_a_move_sends_renditions_to_a_node_that_takes_jpeg_2000_alone(archive: QueryArchive) -> None:
    with archive.node("J2K", TakesOnly((JPEG2000,)), syntaxes=(JPEG2000,)) as receiver:
        responses = move(archive, "J2K")
    arrived = {stored.command.sop_instance_uid: bytes(stored.data) for stored in receiver.stored}
    assert responses[-1][0].Status == 0xB000
    ct = next(uid for uid, s in archive.taken.items() if s.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2")
    assert (pixels(JPEG2000, arrived[ct]) == pixels(*as_stored(archive, ct))).all()
    failed = responses[-1][1]
    assert failed is not None
    assert set(failed.FailedSOPInstanceUIDList) == archive.taken.keys() - arrived.keys()


def test_a_class_that_the_node_refuses_fails_and_the_rest_goes(archive: QueryArchive) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    with archive.node("NOMR", TakesOnly((EXPLICIT, IMPLICIT), frozenset((mr,)))) as receiver:
        responses = move(archive, "NOMR")
    refused = {uid for uid, stored in archive.taken.items() if stored.sop_class_uid == mr}
    assert (responses[-1][0].Status, responses[-1][0].NumberOfFailedSuboperations) == (0xB000, len(refused))
    assert {s.command.sop_instance_uid for s in receiver.stored} == archive.taken.keys() - refused


class DiesOnce(MemoryArchive):
    """A node whose first association is gone at its third object."""

    def begin(self, association: Any, command: Command, context: AcceptedContext) -> Any:
        if len(self.stored) == 2 and len(self.aborted) == 0:
            self.aborted.append(Stored(command, context))
            association.dialogue.lane.abort()
            raise AssociationLost("it dies", Ending.ABORTED_BY_PEER)
        return super().begin(association, command, context)


def test_a_node_that_dies_in_the_middle_still_gets_everything(archive: QueryArchive) -> None:
    with archive.node("DYING", receiver=DiesOnce()) as receiver:
        responses = move(archive, "DYING")
    assert (responses[-1][0].Status, responses[-1][0].NumberOfFailedSuboperations) == (0x0000, 0)
    assert [stored.command.sop_instance_uid for stored in receiver.aborted] != []
    assert {stored.command.sop_instance_uid for stored in receiver.stored} == archive.taken.keys()


class DiesAt(MemoryArchive):
    """A node that aborts the association whenever some instances come."""

    def __init__(self, uids: set[str]) -> None:
        super().__init__()
        self.uids = uids

    def begin(self, association: Any, command: Command, context: AcceptedContext) -> Any:
        if command.sop_instance_uid in self.uids:
            association.dialogue.lane.abort()
            raise AssociationLost("it dies", Ending.ABORTED_BY_PEER)
        return super().begin(association, command, context)


def test_instances_at_which_a_node_always_dies_fail_and_the_rest_goes(archive: QueryArchive) -> None:
    uids = set(list(archive.taken)[1:3])
    with archive.node("PICKY", receiver=DiesAt(uids)) as receiver:
        responses = move(archive, "PICKY")
    last, identifier = responses[-1]
    assert (
        last.Status,
        last.NumberOfCompletedSuboperations,
        last.NumberOfFailedSuboperations,
        last.NumberOfWarningSuboperations,
    ) == (0xB000, len(NAMES) - 2, 2, 0)
    assert identifier is not None
    assert set(identifier.FailedSOPInstanceUIDList) == uids
    assert {stored.command.sop_instance_uid for stored in receiver.stored} == archive.taken.keys() - uids


def test_a_node_that_dies_at_everything_is_given_up(archive: QueryArchive) -> None:
    with archive.node("DEAD", receiver=DiesAt(set(archive.taken))):
        responses = move(archive, "DEAD")
    last, identifier = responses[-1]
    assert (last.Status, last.NumberOfFailedSuboperations) == (0xA702, len(NAMES))
    assert identifier is not None
    assert set(identifier.FailedSOPInstanceUIDList) == archive.taken.keys()


def test_a_move_to_nobody(archive: QueryArchive) -> None:
    responses = move(archive, "NOBODY")
    assert [status.Status for status, _ in responses] == [0xA801]


def test_a_move_of_nothing(archive: QueryArchive) -> None:
    with archive.node("KEEPER"):
        responses = move(archive, "KEEPER", keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.9"))
    (status,) = [status for status, _ in responses]
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0x0000, 0)


def test_movescu(archive: QueryArchive, tool: FindTool) -> None:
    uids = list(archive.taken)[:2]
    with archive.node("KEEPER") as receiver:
        run(
            tool("movescu"), "-S", "-aem", "KEEPER", "-k", "QueryRetrieveLevel=IMAGE",
            "-k", f"StudyInstanceUID={STUDY.StudyInstanceUID}", "-k", f"SOPInstanceUID={uids[0]}\\{uids[1]}",
            "127.0.0.1", archive.port,
        )  # fmt: skip
    assert {stored.command.sop_instance_uid for stored in receiver.stored} == set(uids)
