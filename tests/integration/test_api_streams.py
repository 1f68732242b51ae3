"""Long answers: broken off by the client, by a lost blob, and longer than any memory."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from tests.archive import Archive
from tests.dicomweb import AS_STORED, ROOT, Answer, ask, instance_path, stow, wait_for_instances
from tests.senders import made_study, written
from tests.waiting import wait_until

ABORTED = 50
FRAMES, SIDE = 800, 512
FRAME_BYTES = SIDE * SIDE * 2
MOST_RSS_MB = 300
STEADY_FILES = 4
"""Open files may differ by so many: connections to PostgreSQL and Redis come and go."""


def store(archive: Archive, images: list[Dataset], folder: Path) -> str:
    """Store a study and wait until it is there; gives its path."""
    files = [path.read_bytes() for path in written(images, folder)]
    assert stow(archive, files).status == 200
    wait_for_instances(archive, [instance_path(image) for image in images])
    return f"{ROOT}/studies/{images[0].StudyInstanceUID}"


def api_process(archive: Archive) -> int:
    """The pid of the process that serves HTTP."""
    (pid,) = archive.processes("services.cli api")
    return pid


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def rss_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


@contextmanager
def requested(archive: Archive, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """An answer whose body is read by the test."""
    where = urlsplit(archive.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=100)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_aborted_downloads_leave_nothing_open(archive: Archive, tmp_path: Path) -> None:
    study = store(archive, made_study(12, rows=512), tmp_path)
    pid = api_process(archive)

    def abort(number: int) -> None:
        accept = AS_STORED if number % 2 else 'multipart/related; type="application/dicom"'
        with requested(archive, study, Accept=accept) as answer:
            assert answer.status == 200
            answer.read(1000 * (number % 7))

    for number in range(5):
        abort(number)
    time.sleep(0.5)
    before, threads_before = open_files(pid), threads(pid)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(abort, range(ABORTED)))
    wait_until(
        lambda: open_files(pid) <= before + STEADY_FILES,
        explain=lambda: f"{before} open files became {open_files(pid)}",
    )
    assert threads(pid) <= threads_before + 10
    assert len(ask(archive, study, Accept=AS_STORED).parts()) == 12


def test_slow_readers_get_every_byte(archive: Archive, tmp_path: Path) -> None:
    """The memory that instances are read into is used again while these still read."""
    images = made_study(24, rows=512)
    study = store(archive, images, tmp_path)
    pixels = {image.SOPInstanceUID: image.PixelData for image in images}

    def read(pace: int) -> None:
        with requested(archive, study, Accept=AS_STORED) as answer:
            pieces = []
            while piece := answer.read(pace):
                pieces.append(piece)
                time.sleep(pace / 10**8)
        got = Answer(status=answer.status, headers=answer.headers, body=b"".join(pieces))
        for part in got.parts():
            image = dcmread(BytesIO(part.content))
            assert image.PixelData == pixels[image.SOPInstanceUID]
        assert len(got.parts()) == len(images)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read, (30_000, 200_000, 3_000_000)))


def test_a_lost_blob_breaks_the_transfer_visibly(archive: Archive, tmp_path: Path) -> None:
    images = made_study(8, rows=512)
    study = store(archive, images, tmp_path)
    lost = next(
        path
        for path in (archive.data_dir / "blobs").rglob("*.dcm")
        if images[5].SOPInstanceUID.encode() in path.read_bytes()[:1000]
    )
    lost.rename(tmp_path / "lost")
    with requested(archive, study, Accept=AS_STORED) as answer:
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    alone = ask(archive, instance_path(images[5]), Accept=AS_STORED)
    assert (alone.status, alone.content_type) == (500, "application/problem+json")
    single = ask(archive, instance_path(images[5]), Accept="application/dicom; transfer-syntax=*")
    assert single.status == 500
    assert ask(archive, f"{instance_path(images[5])}/frames/1").status == 500
    assert archive.events("answer_broken_off")[-1]["kind"] == "BlobMissing"
    (tmp_path / "lost").rename(lost)
    assert len(ask(archive, study, Accept=AS_STORED).parts()) == 8
    assert "Traceback" not in archive.said()


def test_a_single_file_that_ends_early_is_not_taken_for_whole(archive: Archive, tmp_path: Path) -> None:
    images = made_study(1, rows=2048)
    store(archive, images, tmp_path)
    blob = next(
        path
        for path in (archive.data_dir / "blobs").rglob("*.dcm")
        if images[0].SOPInstanceUID.encode() in path.read_bytes()[:1000]
    )
    whole = blob.read_bytes()
    os.truncate(blob, len(whole) - 1000)
    try:
        with requested(archive, instance_path(images[0]), Accept="application/dicom") as answer:
            if answer.status == 200:
                with pytest.raises(http.client.IncompleteRead):
                    answer.read()
            else:
                assert answer.status == 500
    finally:
        blob.write_bytes(whole)


class Watch:
    """The most memory that a process held while the block ran."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, rss_mb(self._pid))


def send_large(archive: Archive, folder: Path) -> Dataset:
    """STOW a multi-frame image of 400 MiB whose frames hold their own number, made while it is sent."""
    (image,) = made_study(1, rows=2)
    image.Rows = image.Columns = SIDE
    image.NumberOfFrames = FRAMES
    image.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.PixelData = b"\0\0"
    (path,) = written([image], folder)
    head = path.read_bytes()[:-6] + (FRAMES * FRAME_BYTES).to_bytes(4, "little")
    before, after = b"--cut\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n--cut--\r\n"
    where = urlsplit(archive.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=110)
    connection.putrequest("POST", f"{ROOT}/studies")
    connection.putheader("Content-Type", 'multipart/related; type="application/dicom"; boundary=cut')
    connection.putheader("Content-Length", str(len(before) + len(head) + FRAMES * FRAME_BYTES + len(after)))
    connection.endheaders(before + head)
    for number in range(FRAMES):
        connection.send(number.to_bytes(2, "little") * (FRAME_BYTES // 2))
    connection.send(after)
    assert connection.getresponse().status == 200
    connection.close()
    return image


def length_of(archive: Archive, path: str, accept: str) -> int:
    """How many bytes an answer has, read to its end and not kept."""
    with requested(archive, path, Accept=accept) as answer:
        assert answer.status == 200
        size = 0
        while piece := answer.read(2**20):
            size += len(piece)
        return size


@pytest.mark.timeout(600)
def test_memory_stays_flat_for_a_large_instance(fresh_archive: Archive, tmp_path: Path) -> None:
    archive = fresh_archive
    pixels = FRAMES * FRAME_BYTES
    with Watch(api_process(archive)) as watch:
        image = send_large(archive, tmp_path)
        path = instance_path(image)
        wait_for_instances(archive, [path])
        assert length_of(archive, path, AS_STORED) > pixels
        assert length_of(archive, path, "application/dicom") > pixels
        assert length_of(archive, f"{path}/bulkdata/7FE00010", "application/octet-stream") == pixels
        every = ",".join(map(str, range(1, FRAMES + 1)))
        assert length_of(archive, f"{path}/frames/{every}", "multipart/related") > pixels
        for number in (1, FRAMES // 2, FRAMES):
            frame = ask(archive, f"{path}/frames/{number}", Accept="application/octet-stream").body
            assert frame == (number - 1).to_bytes(2, "little") * (FRAME_BYTES // 2)
        assert ask(archive, f"{path}/rendered").status == 200
    assert 0 < watch.peak < MOST_RSS_MB


def test_a_killed_catalog_is_503_until_it_is_back(fresh_archive: Archive, tmp_path: Path) -> None:
    archive = fresh_archive
    study = store(archive, made_study(1), tmp_path)
    postmaster = archive.processes("postgres")[0]
    os.kill(postmaster, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    answers = []

    def is_back() -> bool:
        answers.append(ask(archive, f"{study}/metadata"))
        return answers[-1].status == 200

    wait_until(is_back)
    down = [answer for answer in answers if answer.status != 200]
    assert down
    assert {answer.status for answer in down} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in down)
    assert all(answer.content_type == "application/problem+json" for answer in down)
    assert "Traceback" not in archive.said()
