"""How long from the acknowledgement of an image until C-FIND finds it, while modalities go on sending."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from pydicom.dataset import Dataset
from pynetdicom import AE, Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from bench.clients import AE_TITLE, Called, store_command
from bench.errors import ClientFailed, WrongAnswer
from bench.material import Batch, Image, Material
from bench.peers.peer import Peer
from bench.processes import NO_NAGLE, settle
from bench.store import StoreRun

_EVERY = 4
"""Every fourth image is looked for: enough for a percentile, without making the questions the load."""
_ACKNOWLEDGED = b"Received Store Response (Success)"
_BETWEEN_QUERIES_SECONDS = 0.02
_FIND_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Acknowledged:
    """An image that is looked for from now on."""

    image: Image
    moment: float


@dataclass(slots=True)
class _Modality:
    """One sender: study after study over a new association each, until it is told to stop."""

    material: Material
    number: int
    of: int
    called: Called
    acknowledged: SimpleQueue[_Acknowledged]
    stop: threading.Event
    failure: str = field(default="")

    def run(self) -> None:
        """Send until the event is set; the study under way is finished first."""
        while not (self.stop.is_set() or self.failure):
            self._send(self.material.batch(self.number, self.of))

    def _send(self, batch: Batch) -> None:
        command = [*store_command(self.called, batch), "-v"]
        with subprocess.Popen(
            command,
            env={**os.environ, **NO_NAGLE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as client:
            assert client.stdout is not None
            images = iter(enumerate(batch.images))
            for line in client.stdout:
                if _ACKNOWLEDGED in line:
                    index, image = next(images)
                    if index % _EVERY == 0:
                        self.acknowledged.put(_Acknowledged(image=image, moment=time.monotonic()))
        if client.returncode or next(images, None):
            self.failure = "storescu did not get everything acknowledged"


def run(order: StoreRun, peer: Peer, folder: Path, *, seconds: float) -> list[float]:
    """Let modalities send for so many seconds; the lag of each image that was looked for, in seconds.

    Raises:
        ClientFailed: an image was not acknowledged.
        WrongAnswer: an image was acknowledged and not found.
    """
    with peer.started(folder, 0) as server:
        settle(server.roots, seconds=60)
        order.material.warm()
        queue: SimpleQueue[_Acknowledged] = SimpleQueue()
        stop = threading.Event()
        modalities = [
            _Modality(order.material, number, order.associations, server.called, queue, stop)
            for number in range(order.associations)
        ]
        threads = [threading.Thread(target=modality.run) for modality in modalities]
        for thread in threads:
            thread.start()
        threading.Timer(seconds, stop.set).start()
        try:
            lags = list(_lags(server.called, queue, threads))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    if failures := [modality.failure for modality in modalities if modality.failure]:
        raise ClientFailed(failures[0])
    return lags


def _lags(
    called: Called, queue: SimpleQueue[_Acknowledged], threads: list[threading.Thread]
) -> Iterator[float]:
    """Ask for all that is acknowledged and was not found yet, again and again, a series at a time."""
    association = _associate(called)
    waiting: dict[str, dict[str, _Acknowledged]] = {}
    try:
        while any(thread.is_alive() for thread in threads) or waiting or not queue.empty():
            for one in _taken(queue):
                waiting.setdefault(one.image.series_uid, {})[one.image.sop_uid] = one
            for series_uid, images in list(waiting.items()):
                found = _found(association, list(images.values()))
                now = time.monotonic()
                for sop_uid in found & images.keys():
                    yield now - images.pop(sop_uid).moment
                if not images:
                    del waiting[series_uid]
                elif now - min(one.moment for one in images.values()) > _FIND_SECONDS:
                    raise WrongAnswer(f"an acknowledged image is not found within {_FIND_SECONDS:.0f} s")
            time.sleep(_BETWEEN_QUERIES_SECONDS)
    finally:
        association.release()


def _taken(queue: SimpleQueue[_Acknowledged]) -> Iterator[_Acknowledged]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _associate(called: Called) -> Association:
    entity = AE(ae_title=AE_TITLE)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", called.port, ae_title=called.ae_title)
    if not association.is_established:
        raise ClientFailed("no association for C-FIND")
    return association


def _found(association: Association, images: list[_Acknowledged]) -> set[str]:
    """Which of a series' images C-FIND gives, asked with a list of UIDs (PS3.4 C.2.2.2.2)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = images[0].image.study_uid
    identifier.SeriesInstanceUID = images[0].image.series_uid
    identifier.SOPInstanceUID = [one.image.sop_uid for one in images]
    answers = association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind)
    return {str(answer.SOPInstanceUID) for _, answer in answers if answer is not None}
