"""The same instance twice, patients without an ID, and one ID from two hospitals, end to end."""

from __future__ import annotations

from contextlib import closing
from copy import deepcopy
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from services.common.adapters.files import FolderStore
from services.common.model import BlobRef
from services.embedded.postgres import postgres_settings
from tests.archive import Archive
from tests.commands import gantry
from tests.senders import Modality, made_study
from tests.servers import connect
from tests.waiting import wait_until


def ask(archive: Archive, statement: str, *values: str) -> list[tuple[Any, ...]]:
    """The rows that the catalog's database answers a statement with."""
    settings = postgres_settings(archive.data_dir)
    with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def send(archive: Archive, *images: Dataset, calling_aet: str = "MODALITY") -> None:
    modality = Modality(port=archive.dicom_port, calling_aet=calling_aet)
    modality.send(images)
    assert len(modality.acknowledged) == len(images)


def studies(archive: Archive, query: str) -> list[Any]:
    """The studies that QIDO-RS answers a query with."""
    found: list[Any] = archive.json(f"/dicom-web/studies?{query}") or []
    return found


def counts(archive: Archive, study: str) -> tuple[int, int]:
    """How many series and instances a study has."""
    (found,) = studies(archive, f"StudyInstanceUID={study}")
    return found["00201206"]["Value"][0], found["00201208"]["Value"][0]


def served(archive: Archive, image: Dataset) -> Dataset:
    """The bytes that the archive gives of an instance."""
    status, body, _ = archive.get(
        f"/wado?requestType=WADO&studyUID={image.StudyInstanceUID}&seriesUID={image.SeriesInstanceUID}"
        f"&objectUID={image.SOPInstanceUID}&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.1"
    )
    assert status == 200, body
    return pydicom.dcmread(BytesIO(body))


def others(archive: Archive, image: Dataset) -> list[tuple[str, bool]]:
    """Of the originals of an instance that are not served: the key, and whether the bytes are the served."""
    return ask(
        archive,
        "SELECT o.key, o.data_set_digest = i.data_set_digest FROM other_original o"
        " JOIN instance i USING (sop_instance_uid) WHERE sop_instance_uid = %s",
        str(image.SOPInstanceUID),
    )


def test_the_same_bytes_again_change_nothing_and_other_bytes_are_served_while_the_old_ones_are_kept(
    archive: Archive,
) -> None:
    images = made_study(3)
    study = str(images[0].StudyInstanceUID)
    send(archive, *images)
    wait_until(lambda: bool(studies(archive, f"StudyInstanceUID={study}")))
    wait_until(lambda: counts(archive, study) == (1, 3))

    send(archive, *images)
    wait_until(lambda: len(others(archive, images[0])) == 1)
    assert counts(archive, study) == (1, 3)
    assert [is_same for _, is_same in others(archive, images[0])] == [True]
    assert served(archive, images[0]) == images[0]

    changed = deepcopy(images[0])
    changed.StudyDescription = "read again"
    changed.PixelData = bytes(len(changed.PixelData))
    send(archive, changed)
    wait_until(lambda: served(archive, images[0]) == changed)
    assert counts(archive, study) == (1, 3)
    kept = [key for key, is_same in others(archive, images[0]) if not is_same]
    assert len(kept) == 2  # the first bytes, which came twice
    store = FolderStore(archive.data_dir / "blobs")
    for key in kept:
        whole = BlobRef(bucket=store.bucket, key=key, offset=0, length=store.stat(key).size)
        with store.open(whole) as blob:
            assert pydicom.dcmread(BytesIO(blob.readall())) == images[0]


def test_patients_without_an_id_are_never_one(archive: Archive) -> None:
    first, second = made_study(1, patient_id="")[0], made_study(1)[0]
    del second.PatientID
    first.AccessionNumber = second.AccessionNumber = "NO-ID-1"
    send(archive, first, second)
    wait_until(lambda: len(studies(archive, "AccessionNumber=NO-ID-1")) == 2)
    uids = str(first.StudyInstanceUID), str(second.StudyInstanceUID)
    patients = ask(archive, "SELECT DISTINCT patient FROM study WHERE study_instance_uid IN (%s, %s)", *uids)
    assert len(patients) == 2
    for image in (first, second):
        assert served(archive, image) == image


def test_the_same_id_from_two_issuers_is_two_patients(archive: Archive) -> None:
    for title, issuer in (("CT-NORTH", "NORTH"), ("CT-SOUTH", "SOUTH")):
        added = gantry(archive, "nodes", "add", title, "127.0.0.1", 104, "--default-issuer", issuer)
        assert added.status == 0, added
    (north,), (south,), (stated,) = (made_study(1, patient_id="SHARED-7") for _ in range(3))
    stated.IssuerOfPatientID = "NORTH"
    send(archive, north, calling_aet="CT-NORTH")
    send(archive, south, calling_aet="CT-SOUTH")
    send(archive, stated, calling_aet="CT-SOUTH")
    wait_until(lambda: len(studies(archive, "PatientID=SHARED-7")) == 3)
    rows = ask(
        archive, "SELECT p.issuer, count(*) FROM study s JOIN patient p ON p.id = s.patient"
        " WHERE s.patient_id = %s GROUP BY p.id, p.issuer ORDER BY p.issuer", "SHARED-7",
    )  # fmt: skip
    assert rows == [("NORTH", 2), ("SOUTH", 1)]
    of_north = studies(archive, "PatientID=SHARED-7&IssuerOfPatientID=NORTH")
    assert {study["0020000D"]["Value"][0] for study in of_north} == {
        north.StudyInstanceUID, stated.StudyInstanceUID,
    }  # fmt: skip
