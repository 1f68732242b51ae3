"""The archive is told to end while peers are at work: what has begun ends well, and nothing is lost."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.archive import end, start_archive, wait_until
from tests.fakes.raw_peer import ABORT_BY_USER, p_data, pdv, raw_peer, store_rq
from tests.senders import Modality, made_study, park


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_association_that_sends_is_served_to_its_end_and_the_next_start_has_it_all(
    tmp_path: Path, number: signal.Signals
) -> None:
    images = made_study(60)
    archive = start_archive(tmp_path)
    try:
        modality = Modality(port=archive.dicom_port)
        is_sending = threading.Event()

        def before(index: int) -> None:
            time.sleep(0.05)
            if index == 10:
                is_sending.set()

        sender = threading.Thread(target=modality.send, args=(images, before))
        sender.start()
        assert is_sending.wait(30)
        archive.process.send_signal(number)
        sender.join(60)
        assert archive.process.wait(timeout=60) == 0
        assert len(modality.acknowledged) == len(images)

        archive = start_archive(tmp_path)
        archive.wait_for_instances(60)
        assert archive.instances() == 60
        assert archive.stop() == 0
    finally:
        end(archive)


@pytest.mark.timeout(180)
def test_a_message_that_has_begun_is_answered_and_an_idle_peer_is_aborted(tmp_path: Path) -> None:
    (image,) = made_study(1)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    data = buffer.getvalue()
    archive = start_archive(tmp_path)
    try:
        with raw_peer(archive.dicom_port) as busy, raw_peer(archive.dicom_port) as idle:
            for peer in (busy, idle):
                peer.sock.settimeout(30)
                peer.associate()
            busy.send(p_data(pdv(3, store_rq(uid=str(image.SOPInstanceUID)), command=True)))
            busy.send(p_data(pdv(3, data[:500], command=False, last=False)))
            archive.process.send_signal(signal.SIGINT)
            wait_until(lambda: '"event": "stop_requested"' in archive.said())
            assert idle.read() == ABORT_BY_USER
            busy.send(p_data(pdv(3, data[500:], command=False)))
            assert busy.command().status == 0x0000
        assert archive.process.wait(timeout=60) == 0

        archive = start_archive(tmp_path)
        archive.wait_for_instances(1)
    finally:
        end(archive)


@pytest.mark.timeout(180)
def test_a_peer_that_never_ends_is_aborted_between_messages_once_its_time_is_over(tmp_path: Path) -> None:
    archive = start_archive(tmp_path, GANTRY_DICOM__DRAIN_SECONDS="3")
    try:
        images = made_study(2000, rows=8)
        ae = AE(ae_title="TIRELESS")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.dimse_timeout = 10
        association = ae.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY")
        acknowledged = 0
        with suppress(RuntimeError):  # as pynetdicom says that the association is over
            for image in images:
                if acknowledged == 20:
                    archive.process.send_signal(signal.SIGTERM)
                if park(association).send_c_store(image).get("Status") != 0x0000:
                    break
                acknowledged += 1
        wait_until(lambda: association.is_aborted)
        assert archive.process.wait(timeout=60) == 0
        assert 20 < acknowledged < len(images)

        archive = start_archive(tmp_path)
        archive.wait_for_instances(acknowledged)
    finally:
        end(archive)
