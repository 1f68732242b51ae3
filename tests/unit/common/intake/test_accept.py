"""Accepting an instance: durable first, told after, and refused with a reason, its bytes kept."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID
from structlog.testing import capture_logs

from services.common.errors import InvalidInstance, Unavailable
from services.common.intake import Intake, Limits, Reception, recover
from services.common.intake.retry import retry
from services.common.keys import received_at
from services.common.model import BlobRef, QuarantineEntry, Route, Source, StoredInstance
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.memory_quarantine import MemoryQuarantine
from tests.fakes.memory_store import MemoryStore
from tests.fakes.publisher import RememberingPublisher

EXPLICIT = "1.2.840.10008.1.2.1"
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.7"
SOURCE = Source(route=Route.DIMSE, calling_aet="CT 1", called_aet="GANTRY", default_issuer="Süd ^1")
NOW = datetime(2026, 11, 22, 14, 30, 1, 250_000, tzinfo=UTC)


class Scene:
    """An intake on fakes, and what it left there."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.store = MemoryStore()
        self.publisher = RememberingPublisher()
        self.quarantine = MemoryQuarantine()
        self.intake = Intake(self.store, self.publisher, self.quarantine, limits=limits, clock=lambda: NOW)

    def begin(self, **announced: str) -> Reception:
        said = {"transfer_syntax_uid": EXPLICIT, "sop_class_uid": SOP_CLASS, "sop_instance_uid": "1.2.3.4"}
        return self.intake.begin(source=SOURCE, **{**said, **announced})

    def accept(self, content: bytes, **announced: str) -> StoredInstance:
        reception = self.begin(**announced)
        for start in range(0, len(content), 100):
            reception.write(memoryview(content)[start : start + 100])
        return reception.finish()

    def refused(self, content: bytes, **announced: str) -> tuple[InvalidInstance, QuarantineEntry]:
        with pytest.raises(InvalidInstance) as raised:
            self.accept(content, **announced)
        [entry] = self.quarantine.held.values()
        assert not self.publisher.offered
        assert not [key for key in self.store.objects if key.startswith("originals/")]
        return raised.value, entry


def data_set(**changes: object) -> Dataset:
    found = Dataset()
    found.SOPClassUID = SOP_CLASS
    found.SOPInstanceUID = "1.2.3.4"
    found.PatientName = "DOE^JOHN"
    found.StudyInstanceUID = "1.2.3"
    found.SeriesInstanceUID = "1.2.3.3"
    found.add_new(0x7FE00010, "OB", bytes(range(256)) * 10)
    for keyword, value in changes.items():
        if value is None:
            del found[keyword]
        else:
            setattr(found, keyword, value)
    return found


def encoded(found: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, found)
    return stream.getvalue()


def raw(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian, as it is."""
    group, element = tag >> 16, tag & 0xFFFF
    return (
        group.to_bytes(2, "little")
        + element.to_bytes(2, "little")
        + vr
        + len(value).to_bytes(2, "little")
        + value
    )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_accepted_instance_is_in_the_store_and_was_told_of(scene: Scene) -> None:
    content = encoded(data_set())
    stored = scene.accept(content)
    blob, _ = scene.store.objects[stored.blob.key]
    assert blob[stored.data_set_offset :] == content
    assert (stored.blob.offset, stored.blob.length) == (0, len(blob))
    assert stored.data_set.length == len(content)
    assert stored.key.study_instance_uid == "1.2.3"
    assert stored.key.series_instance_uid == "1.2.3.3"
    assert stored.key.sop_instance_uid == "1.2.3.4"
    assert (stored.sop_class_uid, stored.transfer_syntax_uid) == (SOP_CLASS, EXPLICIT)
    assert stored.digests.data_set == hashlib.sha256(content).hexdigest()
    assert stored.digests.file == hashlib.sha256(blob).hexdigest()
    assert stored.header.covers == len(content)
    assert stored.source == SOURCE
    assert scene.publisher.offered == [stored]
    assert not scene.quarantine.held


def test_the_key_and_the_instance_tell_the_same_time(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    assert stored.blob.key.startswith("originals/2026/11/22/14/")
    assert stored.received_at == received_at(stored.blob.key)
    assert abs((stored.received_at - NOW).total_seconds()) < 1


def test_the_blob_is_a_part_10_file_that_names_both_aes(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    read = dcmread(io.BytesIO(scene.store.objects[stored.blob.key][0]))
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert read.file_meta.MediaStorageSOPClassUID == SOP_CLASS
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert read.file_meta.SourceApplicationEntityTitle == "CT 1"
    assert read.file_meta.ReceivingApplicationEntityTitle == "GANTRY"
    assert read.PatientName == "DOE^JOHN"


def test_notes_stand_beside_the_blob_in_ascii(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    _, metadata = scene.store.objects[stored.blob.key]
    assert metadata == {
        "data-set-sha256": stored.digests.data_set,
        "file-sha256": stored.digests.file,
        "data-set-offset": str(stored.data_set_offset),
        "received-at": stored.received_at.isoformat(),
        "route": "dimse",
        "calling-aet": "CT%201",
        "called-aet": "GANTRY",
        "default-issuer": "S%C3%BCd%20%5E1",
    }


@pytest.mark.parametrize(
    ("keyword", "tag", "name"),
    [
        ("SOPClassUID", 0x00080016, "(0008,0016) SOP Class UID"),
        ("SOPInstanceUID", 0x00080018, "(0008,0018) SOP Instance UID"),
        ("StudyInstanceUID", 0x0020000D, "(0020,000D) Study Instance UID"),
        ("SeriesInstanceUID", 0x0020000E, "(0020,000E) Series Instance UID"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_uid_that_is_missing_is_named(
    scene: Scene, keyword: str, tag: int, name: str, value: str | None
) -> None:
    refusal, entry = scene.refused(encoded(data_set(**{keyword: value})))
    assert str(refusal) == f"{name} is missing"
    assert len(str(refusal)) <= 64
    assert refusal.tag == entry.tag == tag


@pytest.mark.parametrize(
    "uid", [b"1.2.x4", b"1" * 66, b"1.2.3\\1.2.4", b"../etc/passwd ", b"1.2 3.", b"\xe41.2"]
)
def test_what_is_no_uid_is_refused_wherever_it_stands(scene: Scene, uid: bytes) -> None:
    content = encoded(data_set()).replace(
        raw(0x0020000D, b"UI", b"1.2.3\0"), raw(0x0020000D, b"UI", uid + b"\0" * (len(uid) % 2))
    )
    refusal, entry = scene.refused(content)
    assert str(refusal) == "(0020,000D) Study Instance UID is no valid UID"
    assert entry.tag == 0x0020000D
    assert all("etc" not in key for key in scene.store.objects)


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0\0", b"  \0", b""])
def test_padding_of_a_uid_does_not_count_and_stays_as_it_came(scene: Scene, padding: bytes) -> None:
    content = encoded(data_set()).replace(
        raw(0x00080018, b"UI", b"1.2.3.4\0"), raw(0x00080018, b"UI", b"1.2.3.4" + padding)
    )
    stored = scene.accept(content, sop_instance_uid="1.2.3.4 ")
    assert stored.key.sop_instance_uid == "1.2.3.4"
    assert scene.store.objects[stored.blob.key][0].endswith(content)


def test_leading_zeros_in_a_uid_are_let_pass(scene: Scene) -> None:
    content = encoded(data_set()).replace(
        raw(0x0020000D, b"UI", b"1.2.3\0"), raw(0x0020000D, b"UI", b"1.02.3")
    )
    assert scene.accept(content).key.study_instance_uid == "1.02.3"


def test_a_data_set_that_contradicts_its_command_is_refused(scene: Scene) -> None:
    refusal, entry = scene.refused(encoded(data_set()), sop_instance_uid="1.2.3.5")
    assert str(refusal) == "(0008,0018) SOP Instance UID is not the one announced"
    assert json.loads(entry.payload)["sop_instance_uid"] == "1.2.3.5"
    other = Scene()
    refusal, _ = other.refused(encoded(data_set()), sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert str(refusal) == "(0008,0016) SOP Class UID is not the one announced"


@pytest.mark.parametrize("uid", ["", "ä" * 70, "../../x", "1" * 100_000, "1.2.3.4\0\0x", "\ud800"])
def test_an_announced_uid_that_is_none_is_refused_at_the_end(scene: Scene, uid: str) -> None:
    refusal, _ = scene.refused(encoded(data_set()), sop_instance_uid=uid)
    assert refusal.tag == 0x00080018


def test_refused_bytes_are_kept_as_a_file_with_the_reason_and_the_source(scene: Scene) -> None:
    content = encoded(data_set(StudyInstanceUID=None))
    with capture_logs() as logged:
        refusal, entry = scene.refused(content)
    assert entry.blob is not None
    held, _ = scene.store.objects[entry.blob.key]
    assert held.endswith(content)
    assert dcmread(io.BytesIO(held)).SOPInstanceUID == "1.2.3.4"
    assert (entry.kind, entry.reason, entry.held_at) == ("instance", str(refusal), NOW)
    said = json.loads(entry.payload)
    assert said["source"]["calling_aet"] == "CT 1"
    assert said["transfer_syntax_uid"] == EXPLICIT
    [line] = [line for line in logged if line["event"] == "instance_refused"]
    assert line["entry_id"] == entry.entry_id
    assert "DOE" not in str(logged)


def test_an_unreadable_data_set_is_taken_to_its_end_and_refused_then(scene: Scene) -> None:
    content = encoded(data_set())[:60] + raw(0x00100010, b"PN", b"X")[:4] + b"\xff" * 3000
    reception = scene.begin()
    for start in range(0, len(content), 100):
        reception.write(content[start : start + 100])
    with pytest.raises(InvalidInstance):
        reception.finish()
    [entry] = scene.quarantine.held.values()
    assert entry.blob is not None
    assert scene.store.objects[entry.blob.key][0].endswith(content)


def test_the_same_bytes_are_kept_once_and_told_of_each_time(scene: Scene) -> None:
    content = encoded(data_set(StudyInstanceUID=None))
    _, entry = scene.refused(content)
    kept = set(scene.store.objects)
    with capture_logs() as logged:
        assert scene.refused(content)[1] == entry
    assert set(scene.store.objects) == kept
    [line] = logged
    assert (line["event"], line["entry_id"], line["known"]) == ("instance_refused", entry.entry_id, True)
    with pytest.raises(InvalidInstance, match="not the one announced"):
        scene.accept(encoded(data_set()), sop_instance_uid="1.2.3.5")
    with pytest.raises(InvalidInstance, match="not the one announced"):
        scene.accept(encoded(data_set()), sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert len(scene.quarantine.held) == 3, "the same bytes for another reason are another entry"


def test_a_file_that_is_no_dicom_is_kept_once(scene: Scene) -> None:
    for _ in range(2):
        with pytest.raises(InvalidInstance):
            scene.intake.accept_file(io.BytesIO(b"hello, this is a text"), IMPORTED)
    assert len(scene.quarantine.held) == 1
    assert len(scene.store.objects) == 1


def test_a_data_set_that_is_cut_short_is_refused_with_what_came(scene: Scene) -> None:
    content = encoded(data_set())[:-60]
    refusal, entry = scene.refused(content)
    assert str(refusal) == "(7FE0,0010) is cut short: 2500 of 2560 bytes came"
    assert refusal.tag == entry.tag == 0x7FE00010
    assert entry.blob is not None
    assert scene.store.objects[entry.blob.key][0].endswith(content)


def test_pixels_shorter_than_the_image_they_are_said_to_be_are_stored(scene: Scene) -> None:
    content = encoded(data_set(Rows=512, Columns=512, BitsAllocated=16, SamplesPerPixel=1))
    assert scene.accept(content).data_set.length == len(content)


def test_what_was_cut_short_and_stored_before_is_recovered(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    whole, metadata = scene.store.objects[stored.blob.key]
    scene.store.objects[stored.blob.key] = whole[:-60], metadata
    recovered = recover(scene.store, scene.store.stat(stored.blob.key))
    assert recovered.key == stored.key


def test_a_file_of_another_study_than_that_asked_for_is_refused_and_kept(scene: Scene) -> None:
    with pytest.raises(InvalidInstance, match=r"\(0020,000D\).*not the one announced"):
        scene.intake.accept_file(file_of(data_set()), IMPORTED, study_instance_uid="1.2.4")
    [entry] = scene.quarantine.held.values()
    assert entry.tag == 0x0020000D
    assert json.loads(entry.payload)["study_instance_uid"] == "1.2.4"
    scene.intake.accept_file(file_of(data_set()), IMPORTED, study_instance_uid="1.2.3")


def retry_of(scene: Scene, entry: QuarantineEntry) -> str:
    return retry(
        entry.entry_id,
        intake=scene.intake,
        store=scene.store,
        bus=MemoryBus(),
        quarantine=scene.quarantine,
    )


def test_what_is_refused_again_stays_where_it_is(scene: Scene) -> None:
    _, entry = scene.refused(encoded(data_set(StudyInstanceUID=None)))
    kept = dict(scene.store.objects)
    with pytest.raises(InvalidInstance, match=r"refused again: .* is missing"):
        retry_of(scene, entry)
    assert scene.quarantine.held == {entry.entry_id: entry}
    assert scene.store.objects == kept


def test_what_is_taken_the_second_time_is_released(scene: Scene) -> None:
    _, entry = scene.refused(encoded(data_set()), sop_instance_uid="1.2.3.5")
    assert retry_of(scene, entry).startswith("stored as originals/")
    assert not scene.quarantine.held


def test_more_than_the_quarantine_keeps_is_refused_without_its_bytes() -> None:
    scene = Scene(Limits(quarantine_bytes=1000))
    refusal, entry = scene.refused(encoded(data_set(StudyInstanceUID=None)))
    assert entry.blob is None
    assert entry.reason.startswith(str(refusal))
    assert "too many to keep" in entry.reason
    assert not scene.store.objects


def test_an_unreadable_data_set_beyond_what_the_quarantine_keeps_is_not_kept() -> None:
    scene = Scene(Limits(quarantine_bytes=1000))
    _, entry = scene.refused(b"\xff" * 5000)
    assert entry.blob is None
    assert not scene.store.objects


def test_a_valid_instance_may_be_larger_than_the_quarantine_keeps() -> None:
    scene = Scene(Limits(quarantine_bytes=1000))
    scene.accept(encoded(data_set()))
    assert len(scene.publisher.offered) == 1


def test_an_abort_leaves_nothing(scene: Scene) -> None:
    reception = scene.begin()
    reception.write(encoded(data_set())[:500])
    reception.abort()
    reception.abort()
    assert not scene.store.objects
    assert not scene.publisher.offered


def test_nothing_can_be_done_with_a_reception_that_is_over(scene: Scene) -> None:
    reception = scene.begin()
    reception.abort()
    with pytest.raises(Unavailable):
        reception.write(b"x")
    with pytest.raises(Unavailable):
        reception.finish()


def test_a_store_that_is_down_refuses_at_the_beginning(scene: Scene) -> None:
    scene.store.down = True
    with pytest.raises(Unavailable):
        scene.begin()


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_store_that_goes_down_midway_stores_nothing_and_tells_nothing(scene: Scene, step: str) -> None:
    content = encoded(data_set())
    reception = scene.begin()
    if step == "finish":
        reception.write(content)
    scene.store.down = True
    with pytest.raises(Unavailable):
        reception.write(content) if step == "write" else reception.finish()
    scene.store.down = False
    with pytest.raises(Unavailable):
        reception.finish()
    assert not scene.store.objects
    assert not scene.publisher.offered


def test_a_quarantine_that_is_down_makes_a_refusal_unavailable(scene: Scene) -> None:
    scene.quarantine.down = True
    with pytest.raises(Unavailable):
        scene.accept(encoded(data_set(StudyInstanceUID=None)))
    assert not scene.publisher.offered


@pytest.mark.parametrize("step", ["write", "finish"])
def test_an_upload_that_takes_too_long_is_aborted(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    now = 1000.0
    monkeypatch.setattr("services.common.intake.reception.time.monotonic", lambda: now)
    scene = Scene(Limits(longest_put_seconds=60.0))
    reception = scene.begin()
    reception.write(encoded(data_set()))
    now += 61.0
    with pytest.raises(Unavailable, match="longer than is permitted"):
        reception.write(b"more") if step == "write" else reception.finish()
    assert not scene.store.objects
    assert not scene.publisher.offered


def accepted_and_recovered(scene: Scene, content: bytes) -> tuple[StoredInstance, StoredInstance]:
    stored = scene.accept(content)
    [stat] = scene.store.list("originals/")
    return stored, recover(scene.store, stat)


def test_recovery_tells_what_was_told(scene: Scene) -> None:
    stored, recovered = accepted_and_recovered(scene, encoded(data_set()))
    assert recovered == stored


def test_recovery_without_notes_reads_the_digests_anew(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    scene.store.objects[stored.blob.key][1].clear()
    [stat] = scene.store.list("originals/")
    assert recover(scene.store, stat) == replace(stored, source=replace(SOURCE, default_issuer=""))


def test_recovery_of_a_header_that_is_larger_than_an_event(scene: Scene) -> None:
    found = data_set()
    found.OtherPatientNames = ""
    block = found.private_block(0x0011, "GANTRY TEST", create=True)
    for number in range(200):
        block.add_new(number, "LT", "x" * 1000)
    late = data_set()
    late.update(found)
    stored, recovered = accepted_and_recovered(scene, encoded(late))
    assert recovered == stored
    assert stored.header.covers < stored.data_set.length
    assert stored.key.study_instance_uid == "1.2.3"


def test_recovery_refuses_what_intake_would_have_refused(scene: Scene) -> None:
    stored = scene.accept(encoded(data_set()))
    content, metadata = scene.store.objects[stored.blob.key]
    for broken in (
        b"no DICOM at all, this is not",
        content.replace(b"1.2.3.4", b"1.2.3.5", 1),
        content.replace(raw(0x0020000D, b"UI", b"1.2.3\0"), b""),
    ):
        scene.store.objects[stored.blob.key] = (broken, metadata)
        [stat] = scene.store.list("originals/")
        with pytest.raises(InvalidInstance):
            recover(scene.store, stat)


def file_of(found: Dataset) -> io.BytesIO:
    stream = io.BytesIO()
    found.ensure_file_meta()
    found.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    found.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return stream


IMPORTED = Source(route=Route.IMPORT, calling_aet="", called_aet="GANTRY")


def test_a_file_is_accepted_with_its_data_set_verbatim(scene: Scene) -> None:
    found = data_set()
    stored = scene.intake.accept_file(file_of(found), IMPORTED)
    assert scene.store.objects[stored.blob.key][0][stored.data_set_offset :] == encoded(found)
    assert stored.source.route is Route.IMPORT
    assert recover(scene.store, scene.store.stat(stored.blob.key)) == stored


def test_a_file_that_begins_within_a_stream_is_accepted(scene: Scene) -> None:
    stream = io.BytesIO(b"before" + file_of(data_set()).getvalue())
    stream.seek(6)
    assert scene.intake.accept_file(stream, IMPORTED).key.sop_instance_uid == "1.2.3.4"


def test_a_bare_data_set_announces_itself(scene: Scene) -> None:
    content = encoded(data_set())
    stored = scene.intake.accept_file(io.BytesIO(content), IMPORTED)
    assert scene.store.objects[stored.blob.key][0].endswith(content)
    assert stored.sop_class_uid == SOP_CLASS


def test_a_file_whose_meta_contradicts_its_data_set_is_what_its_data_set_says(scene: Scene) -> None:
    content = file_of(data_set()).getvalue().replace(b"1.2.3.4", b"1.2.3.5", 1)
    stored = scene.intake.accept_file(io.BytesIO(content), IMPORTED)
    assert stored.key.sop_instance_uid == "1.2.3.4"
    assert (
        dcmread(io.BytesIO(scene.store.objects[stored.blob.key][0])).file_meta[0x00020003].value == "1.2.3.4"
    )
    assert recover(scene.store, scene.store.stat(stored.blob.key)) == stored


def test_a_file_that_cannot_be_read_on_is_refused_and_kept_whole(scene: Scene) -> None:
    content = file_of(data_set()).getvalue()
    content = content[: content.index(b"DOE^") - 8] + b"\xff" * 40_000
    with pytest.raises(InvalidInstance):
        scene.intake.accept_file(io.BytesIO(content), IMPORTED)
    [entry] = scene.quarantine.held.values()
    assert entry.blob is not None
    assert scene.store.objects[entry.blob.key][0].endswith(b"\xff" * 40_000)


def test_what_is_no_dicom_file_is_quarantined_as_it_is(scene: Scene) -> None:
    with pytest.raises(InvalidInstance):
        scene.intake.accept_file(io.BytesIO(b"hello, this is a text"), IMPORTED)
    [entry] = scene.quarantine.held.values()
    assert entry.blob is not None
    assert scene.store.objects[entry.blob.key][0] == b"hello, this is a text"


def test_what_is_no_dicom_file_and_too_large_is_not_kept() -> None:
    scene = Scene(Limits(quarantine_bytes=10))
    with pytest.raises(InvalidInstance):
        scene.intake.accept_file(io.BytesIO(b"hello, this is a text"), IMPORTED)
    [entry] = scene.quarantine.held.values()
    assert entry.blob is None
    assert not scene.store.objects


def test_an_empty_file_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidInstance):
        scene.intake.accept_file(io.BytesIO(b""), IMPORTED)


def test_recovery_reads_the_header_and_not_the_pixels(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    found = data_set()
    found[0x7FE00010].value = bytes(3_000_000)
    stored = scene.accept(encoded(found))
    lengths: list[int] = []
    opened = scene.store.open

    def note(ref: BlobRef) -> io.RawIOBase:
        lengths.append(ref.length)
        return opened(ref)

    monkeypatch.setattr(scene.store, "open", note)
    assert recover(scene.store, scene.store.stat(stored.blob.key)) == stored
    assert sum(lengths) < 200_000
