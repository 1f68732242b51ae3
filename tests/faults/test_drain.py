"""The archive is told to end while peers are at work: what has begun ends well, and nothing is lost."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, Association
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.archive import Archive, end, start_archive
from tests.fakes.raw_peer import ABORT_BY_USER, p_data, pdv, raw_peer, store_rq
from tests.senders import Delay, made_study, park, send
from tests.waiting import PATIENCE_SECONDS, wait_until

COUNT = 60


def encoded(image: Dataset) -> bytes:
    """The data set in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return buffer.getvalue()


def associate(archive: Archive) -> Association:
    """An association for storage."""
    ae = AE(ae_title="TIRELESS")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)
    ae.dimse_timeout = ae.network_timeout = ae.acse_timeout = PATIENCE_SECONDS
    association = ae.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY")
    assert association.is_established
    return association


def tell_to_stop(archive: Archive, number: signal.Signals) -> None:
    """Send the signal, and wait until it has come."""
    archive.process.send_signal(number)
    wait_until(lambda: archive.events("stop_requested"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_what_has_begun_is_served_to_its_end_an_idle_peer_is_aborted_and_the_next_start_has_it_all(
    tmp_path: Path, number: signal.Signals
) -> None:
    images, (half,) = made_study(COUNT), made_study(1)
    data = encoded(half)
    delay = Delay(1)
    archive = start_archive(tmp_path, GANTRY_DICOM__DRAIN_SECONDS=str(PATIENCE_SECONDS))
    try:
        with (
            ThreadPoolExecutor(1) as pool,
            raw_peer(archive.dicom_port) as busy,
            raw_peer(archive.dicom_port) as idle,
        ):
            sending = pool.submit(send, associate(archive), images, delay)
            delay.began.wait(PATIENCE_SECONDS)
            busy.associate()
            idle.associate()
            busy.send(p_data(pdv(3, store_rq(uid=str(half.SOPInstanceUID)), command=True)))
            busy.send(p_data(pdv(3, data[:500], command=False, last=False)))
            tell_to_stop(archive, number)
            assert not sending.done()
            delay.over.set()
            assert idle.read() == ABORT_BY_USER
            busy.send(p_data(pdv(3, data[500:], command=False)))
            assert busy.command().status == 0x0000
            sending.result(PATIENCE_SECONDS)
        assert archive.process.wait(timeout=PATIENCE_SECONDS) == 0

        archive = start_archive(tmp_path)
        archive.wait_for_instances(COUNT + 1)
        assert archive.instances() == COUNT + 1
        assert archive.stop() == 0
    finally:
        delay.over.set()
        end(archive)


def test_a_peer_that_never_ends_is_aborted_between_messages_once_its_time_is_over(tmp_path: Path) -> None:
    archive = start_archive(tmp_path, GANTRY_DICOM__DRAIN_SECONDS="3")
    try:
        association = associate(archive)
        acknowledged: list[str] = []
        with suppress(RuntimeError):  # as pynetdicom says that the association is over
            for number in count():
                (image,) = made_study(1, rows=8)
                if number == 20:
                    tell_to_stop(archive, signal.SIGTERM)
                if park(association).send_c_store(image).get("Status") != 0x0000:
                    break
                acknowledged.append(str(image.SOPInstanceUID))
        wait_until(lambda: association.is_aborted)
        assert archive.process.wait(timeout=PATIENCE_SECONDS) == 0
        assert len(acknowledged) > 20
        kept = b"".join(path.read_bytes() for path in (archive.data_dir / "blobs").rglob("*.dcm"))
        assert [uid for uid in acknowledged if uid.encode() not in kept] == []
    finally:
        end(archive)
