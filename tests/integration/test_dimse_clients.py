"""Real SCUs against the acceptor: DCMTK's tools and pynetdicom."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_role, evt
from pynetdicom.dsutils import encode as encode_data_set

from services.common.dimse.acceptor import Command, Response
from services.common.errors import InvalidInstance, Unavailable
from services.common.settings import DicomSettings
from tests.fakes.dimse_archive import MemoryArchive, Running, listening

FindTool = Callable[[str], Path]

CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
JPEG2000_FILE = Path(str(get_testdata_file("JPEG2000.dcm")))
STUDY_KEYS = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def running(archive: MemoryArchive) -> Iterator[Running]:
    with listening(archive.handlers) as running:
        yield running


def run(program: Path, *arguments: object, code: int | None = 0) -> str:
    """Run a DCMTK tool; gives all that it said."""
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=110,
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout
    return done.stdout


def data_set_of(path: Path) -> bytes:
    """The bytes after the file meta information."""
    with path.open("rb") as file:
        file.seek(132)
        group_length = file.read(12)
        return path.read_bytes()[144 + int.from_bytes(group_length[8:12], "little") :]


def test_echoscu(running: Running, tool: FindTool) -> None:
    run(tool("echoscu"), "--repeat", "3", "127.0.0.1", running.port)


def test_echoscu_proposes_128_contexts_and_all_are_answered(running: Running, tool: FindTool) -> None:
    said = run(tool("echoscu"), "-d", "-pts", "10", "-ppc", "128", "127.0.0.1", running.port)
    assert said.count("(Accepted)") == 128


@pytest.mark.parametrize(
    "options", [(), ("--max-pdu", "4096"), ("--max-send-pdu", "4096"), ("-xi",), ("-xb",)], ids=" ".join
)
def test_storescu(running: Running, archive: MemoryArchive, tool: FindTool, options: tuple[str, ...]) -> None:
    run(tool("storescu"), *options, "127.0.0.1", running.port, CT_FILE, CT_FILE)
    assert len(archive.stored) == 2
    stored = archive.stored[0]
    read = pydicom.dcmread(
        BytesIO(b"\0" * 128 + b"DICM" + meta_of(stored.context.transfer_syntax) + stored.data)
    )
    assert read.PixelData[:100] or options == ("-xb",)
    assert read.SOPInstanceUID == stored.command.sop_instance_uid


def meta_of(transfer_syntax: str) -> bytes:
    """The least file meta information."""
    uid = transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2)
    return b"\2\0\x10\0UI" + len(uid).to_bytes(2, "little") + uid


def test_storescu_keeps_the_bytes_of_a_compressed_object(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    run(tool("storescu"), "-xw", "127.0.0.1", running.port, JPEG2000_FILE)
    assert archive.stored[0].context.transfer_syntax == read_file_meta_info(JPEG2000_FILE).TransferSyntaxUID
    written = pydicom.dcmread(JPEG2000_FILE)
    got = pydicom.dcmread(
        BytesIO(
            b"\0" * 128
            + b"DICM"
            + meta_of(archive.stored[0].context.transfer_syntax)
            + archive.stored[0].data
        )
    )
    assert got.PixelData == written.PixelData


def test_storescu_is_told_why_it_was_refused(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    archive.refuse_store = lambda command: InvalidInstance("Study Instance UID is missing", tag=0x0020000D)
    said = run(tool("storescu"), "-d", "127.0.0.1", running.port, CT_FILE, code=None)
    assert "0xa900" in said.lower()
    assert "(0020,000D) Study Instance UID is missing" in said


def test_an_unavailable_store_drains_and_the_association_goes_on(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    errors: list[Exception | None] = [Unavailable("the object store is down"), None]
    archive.refuse_store = lambda command: errors.pop(0)
    said = run(tool("storescu"), "-v", "--no-halt", "127.0.0.1", running.port, CT_FILE, CT_FILE, code=None)
    assert "OutOfResources" in said.replace(" ", "") or "0xa700" in said.lower()
    assert len(archive.stored) == 1


def test_a_foreign_error_is_a_processing_failure_and_the_next_store_succeeds(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    errors: list[Exception | None] = [KeyError("surprise"), None]
    archive.refuse_store = lambda command: errors.pop(0)
    said = run(tool("storescu"), "-d", "--no-halt", "127.0.0.1", running.port, CT_FILE, CT_FILE, code=None)
    assert "0x0110" in said
    assert len(archive.stored) == 1


def test_an_error_in_mid_write_drains_and_aborts_the_sink(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    archive.fail_write = Unavailable("disk full")
    said = run(tool("storescu"), "-d", "127.0.0.1", running.port, CT_FILE, code=None)
    assert "0xa700" in said.lower()
    assert len(archive.aborted) == 1 and not archive.stored


def identifier(**values: str) -> bytes:
    answer = Dataset()
    for keyword, value in values.items():
        setattr(answer, keyword, value)
    encoded = encode_data_set(answer, False, True)
    assert encoded is not None
    return bytes(encoded)


def test_findscu(running: Running, archive: MemoryArchive, tool: FindTool) -> None:
    archive.answers = [
        Response(status=0xFF00, identifier=identifier(QueryRetrieveLevel="STUDY", StudyID=f"S{n}"))
        for n in range(25)
    ]
    said = run(tool("findscu"), "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", running.port)
    assert said.count("(0020,0010) SH [S") == 25
    assert "Received Final Find Response (Success)" in said
    assert archive.identifiers == [identifier(QueryRetrieveLevel="STUDY")]


def test_findscu_cancels(running: Running, archive: MemoryArchive, tool: FindTool) -> None:
    answer = Response(status=0xFF00, identifier=identifier(QueryRetrieveLevel="STUDY"))
    archive.answers = [answer] * 100000
    given: list[int] = []

    def note(index: int) -> None:
        given.append(index)
        if index > 3:
            time.sleep(0.002)

    archive.on_answer = note
    said = run(
        tool("findscu"),
        "-v",
        "-S",
        "--cancel",
        "3",
        "-k",
        "QueryRetrieveLevel=STUDY",
        "127.0.0.1",
        running.port,
    )
    assert "MatchingTerminatedDueToCancelRequest" in said.replace(" ", "")
    assert len(given) < 100000


def test_movescu_to_an_unknown_destination(running: Running, tool: FindTool) -> None:
    said = run(
        tool("movescu"), "-v", "-S", "-aem", "NOWHERE", *STUDY_KEYS, "127.0.0.1", running.port, code=None
    )
    assert "MoveDestinationUnknown" in said


def test_movescu_to_a_known_one(running: Running, tool: FindTool) -> None:
    said = run(tool("movescu"), "-v", "-S", "-aem", "KNOWN", *STUDY_KEYS, "127.0.0.1", running.port)
    assert "Received Final Move Response (Success)" in said


@pytest.mark.parametrize("options", [(), ("--max-pdu", "4096")], ids=["default", "4096"])
def test_getscu_gets_back_the_same_bytes(
    running: Running, archive: MemoryArchive, tool: FindTool, tmp_path: Path, options: tuple[str, ...]
) -> None:
    run(tool("storescu"), "127.0.0.1", running.port, CT_FILE, CT_FILE)
    sent = bytes(archive.stored[0].data)
    said = run(
        tool("getscu"), "-v", "-S", "+B", *options, "-od", tmp_path, *STUDY_KEYS, "127.0.0.1", running.port
    )
    assert "Number of Completed Suboperations : 2" in said
    (file,) = tmp_path.iterdir()
    assert data_set_of(file) == sent
    assert archive.outcomes == [0, 0]


def test_pynetdicom_gets_with_and_without_a_role(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    run(tool("storescu"), "127.0.0.1", running.port, CT_FILE)
    uid, syntax = archive.stored[0].command.sop_class_uid, archive.stored[0].context.transfer_syntax
    for role, completed in (
        (None, 1),
        (build_role(uid, scp_role=True), 1),
        (build_role(uid, scu_role=True), 0),
    ):
        got: list[str] = []

        def keep(event: evt.Event, got: list[str] = got) -> int:
            got.append(event.request.AffectedSOPInstanceUID)
            return 0x0000

        ae = AE()
        ae.add_requested_context("1.2.840.10008.5.1.4.1.2.2.3")
        ae.add_requested_context(uid, syntax)
        association = ae.associate(
            "127.0.0.1",
            running.port,
            ext_neg=[] if role is None else [role],
            evt_handlers=[(evt.EVT_C_STORE, keep)],
        )
        assert association.is_established
        if role is None:
            # pynetdicom obeys the default role to the letter; Horos receives on such a context.
            for context in association.accepted_contexts:
                context._as_scp = True
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        responses = [status for status, _ in association.send_c_get(query, "1.2.840.10008.5.1.4.1.2.2.3")]
        association.release()
        assert responses[-1].NumberOfCompletedSuboperations == completed
        assert len(got) == completed


@pytest.mark.parametrize("maximum", [0, 4096, 16382, 131072])
def test_pynetdicom_stores_with_every_maximum_length(maximum: int) -> None:
    archive = MemoryArchive()
    data_set = pydicom.dcmread(CT_FILE)
    with listening(archive.handlers, settings=DicomSettings(maximum_pdu_length=maximum)) as running:
        ae = AE()
        ae.add_requested_context(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", running.port, max_pdu=maximum)
        assert association.is_established
        assert association.send_c_store(data_set).Status == 0
        association.release()
    assert archive.associations[0].peer_max_pdu == maximum
    assert len(archive.stored[0].data) > 32768


def test_what_the_peer_said_of_itself_reaches_the_handler(
    running: Running, archive: MemoryArchive, tool: FindTool
) -> None:
    seen: list[Command] = []
    archive.refuse_store = lambda command: seen.append(command)
    run(tool("storescu"), "-aet", " CT 1 ", "-aec", "Gantry", "127.0.0.1", running.port, CT_FILE)
    (info,) = archive.associations
    assert (info.calling_aet, info.called_aet) == ("CT 1", "Gantry")
    assert info.peer_address[0] == "127.0.0.1"
    assert "DCMTK" in info.peer_implementation_version
    assert seen[0].sop_instance_uid == pydicom.dcmread(CT_FILE).SOPInstanceUID
