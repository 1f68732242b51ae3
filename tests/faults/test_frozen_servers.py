"""A server that is frozen takes connections and answers nothing: peers are told in time, stores go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from tests.archive import Archive, end, start_archive
from tests.senders import Modality, made_study
from tests.waiting import wait_until

_PATIENCE_SECONDS = 240


@contextmanager
def frozen(archive: Archive, part: str) -> Iterator[None]:
    """The processes of a part, and those that they made, stand still in the block."""
    pids = archive.processes(part)
    assert pids, f"no process of {part} runs"
    pids += [child for pid in pids for child in _children(pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    """The processes that this one made; PostgreSQL's do not say whose they are."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def find(archive: Archive) -> tuple[int, str]:
    """The final status of a C-FIND for all studies, and its comment."""
    peer = AE("FINDER")
    peer.acse_timeout = peer.dimse_timeout = peer.network_timeout = _PATIENCE_SECONDS
    peer.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = peer.associate("127.0.0.1", archive.dicom_port, ae_title="GANTRY")
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", ""
    answers = list(association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    association.release()
    status, _ = answers[-1]
    return status.Status, status.get("ErrorComment", "")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An archive that soon gives up a statement."""
    running = start_archive(tmp_path, GANTRY_POSTGRES__STATEMENT_TIMEOUT_SECONDS="3")
    yield running
    end(running)


@pytest.mark.timeout(600)
def test_a_frozen_postgresql_stops_no_store_and_every_question_is_answered(archive: Archive) -> None:
    images = made_study(60)
    modality = Modality(port=archive.dicom_port)
    modality.send(images[:20])
    archive.wait_for_instances(20, seconds=_PATIENCE_SECONDS)
    assert archive.get("/readyz")[0] == 200
    with frozen(archive, "postgres"):
        # Two processes accept associations, each with connections of its own.
        for _ in range(4):
            status, comment = find(archive)
            assert status == 0xA700
            assert "PostgreSQL" in comment
        status, body, headers = archive.get("/dicom-web/studies")
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert b"PostgreSQL" in body
        assert archive.get("/readyz")[0] == 503
        modality.send(images[20:])
        assert len(modality.acknowledged) == len(images)
    archive.wait_for_instances(60, seconds=_PATIENCE_SECONDS)
    assert archive.instances() == 60
    assert find(archive)[0] == 0x0000
    wait_until(lambda: archive.get("/readyz")[0] == 200, seconds=_PATIENCE_SECONDS)
    assert not archive.events("child_ended")
    assert archive.json("/api/quarantine") == []


@pytest.mark.timeout(600)
def test_a_frozen_redis_stops_no_store_and_what_was_sent_meanwhile_is_found(archive: Archive) -> None:
    images = made_study(60)
    modality = Modality(port=archive.dicom_port)
    with frozen(archive, "redis-server"):
        modality.send(images[:40])
        assert len(modality.acknowledged) == 40
        assert find(archive)[0] == 0x0000
        status, body, _ = archive.get("/readyz")
        assert status == 503
        assert b"Redis does not answer" in body
    modality.send(images[40:])
    archive.wait_for_instances(60, seconds=_PATIENCE_SECONDS)
    assert archive.instances() == 60
