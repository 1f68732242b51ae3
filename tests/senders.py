"""A modality for the tests: makes small studies and sends them, and knows what was acknowledged."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, Association
from pynetdicom.sop_class import CTImageStorage

from tests.waiting import PATIENCE_SECONDS

_PATIENCE_SECONDS = 240.0


def made_study(count: int, *, rows: int = 32, patient_id: str = "TEST") -> list[Dataset]:
    """A CT series of `count` images whose pixels differ, in Explicit VR Little Endian."""
    study, series = generate_uid(), generate_uid()
    return [_image(study, series, number, rows, patient_id) for number in range(1, count + 1)]


def _image(study: str, series: str, number: int, rows: int, patient_id: str) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyDate, image.StudyTime = "20260102", "101112"
    image.Modality = "CT"
    image.PatientName, image.PatientID = "Doe^Jane", patient_id
    image.PatientBirthDate, image.PatientSex = "19700101", "F"
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.AccessionNumber, image.StudyID = "A1", "1"
    image.SeriesNumber, image.InstanceNumber = 1, number
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = rows
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = bytes(
        (number * 7 + index) % 251 if index % 2 == 0 else 3 for index in range(rows * rows * 2)
    )
    return image


def written(images: Sequence[Dataset], folder: Path) -> list[Path]:
    """The images as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for image in images:
        path = folder / f"{image.SOPInstanceUID}"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@dataclass
class Modality:
    """Sends images until each is acknowledged, over new associations where one is lost."""

    port: int
    called_aet: str = "GANTRY"
    calling_aet: str = "MODALITY"
    acknowledged: list[str] = field(default_factory=list)

    def send(self, images: Sequence[Dataset], before: Callable[[int], None] = lambda _: None) -> None:
        """Send them all; `before` is called with the index of each, to break things."""
        association: Association | None = None
        sockets: list[socket.socket] = []
        give_up = time.monotonic() + _PATIENCE_SECONDS + len(images) / 10
        for index, image in enumerate(images):
            before(index)
            while True:
                assert time.monotonic() < give_up, f"gave up after {index} images"
                if association is None or not association.is_established:
                    association = self._associate()
                    if association is not None:
                        sockets.append(association.dul.socket.socket)
                    continue
                if self._store(association, image):
                    self.acknowledged.append(image.SOPInstanceUID)
                    break
                time.sleep(0.2)
        if association is not None and association.is_established:
            association.release()
        for lost in sockets:  # pynetdicom leaves open what the peer has reset
            lost.close()

    def _associate(self) -> Association | None:
        ae = AE(ae_title=self.calling_aet)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.dimse_timeout = ae.network_timeout = ae.acse_timeout = 60
        association = ae.associate("127.0.0.1", self.port, ae_title=self.called_aet)
        if association.is_established:
            return association
        time.sleep(0.2)
        return None

    @staticmethod
    def _store(association: Association, image: Dataset) -> bool:
        try:
            return park(association).send_c_store(image).get("Status") == 0x0000
        except RuntimeError:  # the association is lost
            association._reactor_checkpoint.set()  # its reactor is not to wait for an operation any more
            association.join(PATIENCE_SECONDS)
            return False


def park(association: Association) -> Association:
    """Let the client's reactor come to rest, before each operation; gives the association.

    pynetdicom's reactor takes the response for a request of the peer where it is between two looks at its
    checkpoint as the operation begins: the operation then ends without an answer.
    """
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    while association.is_alive() and not checkpoint._cond._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    return association


class Delay:
    """Holds senders up after their first image, busy with C-ECHO, until it is over."""

    def __init__(self, senders: int) -> None:
        self.began = threading.Barrier(senders + 1)
        """Passed when each sender has sent its first image."""
        self.over = threading.Event()

    def hold(self, association: Association) -> None:
        """Of one sender."""
        self.began.wait(PATIENCE_SECONDS)
        while not self.over.wait(0.1):
            assert park(association).send_c_echo().Status == 0x0000


def send(association: Association, images: Sequence[Dataset], delay: Delay | None = None) -> None:
    """Store all of them and release."""
    for index, image in enumerate(images):
        if delay and index == 1:
            delay.hold(association)
        assert park(association).send_c_store(image).Status == 0x0000
    association.release()
    assert association.is_released
