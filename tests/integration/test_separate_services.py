"""Every service as processes of its own, two of each, on a real PostgreSQL, Redis and S3 server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, Association, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from services.common.adapters.s3 import S3Store
from services.common.ports import BlobStat
from services.common.settings import PostgresSettings, RedisSettings, S3Settings
from services.embedded.lock import ArchiveLock
from services.embedded.postgres import EmbeddedPostgres
from services.embedded.redis import EmbeddedRedis
from tests.fleet import Fleet, Pod
from tests.senders import Delay, made_study, park, send
from tests.servers_s3 import free_port, is_open
from tests.waiting import PATIENCE_SECONDS, wait_until

Side = Mapping[str, Pod]

COUNT = 200
MORE = 60
SERVICES = ("ingest", "qr", "api", "index", "transcode", "sweep")
FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove


@pytest.fixture
def fleet(
    tmp_path: Path, fresh_postgres: PostgresSettings, fresh_redis: RedisSettings, s3_settings: S3Settings
) -> Iterator[Fleet]:
    """A fleet without pods on servers of its own, migrated."""
    fleet = Fleet(tmp_path, postgres=fresh_postgres, redis=fresh_redis, s3=s3_settings)
    fleet.run("migrate")
    yield fleet
    fleet.end()


def objects(s3: S3Settings, prefix: str) -> list[BlobStat]:
    """The objects in the bucket below a prefix."""
    store, found = S3Store(s3), list[BlobStat]()
    while page := store.list(prefix, after=found[-1].key if found else ""):
        found += page
    return found


def associate(pod: Pod, *contexts: str) -> Association:
    """An association with a pod that proposes CT Image Storage and `contexts`."""
    ae = AE(ae_title="MODALITY")
    for context in (CTImageStorage, *contexts):
        ae.add_requested_context(context, ExplicitVRLittleEndian)
    ae.dimse_timeout = ae.network_timeout = ae.acse_timeout = PATIENCE_SECONDS
    association = ae.associate("127.0.0.1", pod.port, ae_title="GANTRY")
    assert association.is_established
    return association


def associate_with(pod: Pod) -> Association:
    """An association for storage; with a Q/R pod one that mixes both, as the balancer would send it there."""
    return associate(pod, Verification, FIND) if pod.command == "qr" else associate(pod, Verification)


def study_of(images: Sequence[Dataset]) -> Dataset:
    """The identifier that names their study."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = images[0].StudyInstanceUID
    return identifier


def find_images(pod: Pod, images: Sequence[Dataset]) -> set[str]:
    """The SOP instances that a Q/R pod finds in their study."""
    identifier = study_of(images)
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.SeriesInstanceUID = images[0].SeriesInstanceUID
    identifier.SOPInstanceUID = ""
    association = associate(pod, FIND)
    answers = list(park(association).send_c_find(identifier, FIND))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return {answer.SOPInstanceUID for _, answer in answers[:-1] if answer is not None}


def get_images(pod: Pod, images: Sequence[Dataset]) -> dict[str, Dataset]:
    """What a Q/R pod gives of their study over C-GET."""
    got: dict[str, Dataset] = {}

    def keep(event: evt.Event) -> int:
        got[event.dataset.SOPInstanceUID] = event.dataset
        return 0x0000

    ae = AE(ae_title="VIEWER")
    ae.add_requested_context(GET)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate(
        "127.0.0.1", pod.port, ae_title="GANTRY",
        ext_neg=[build_role(CTImageStorage, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    assert association.is_established
    *_, (last, _) = park(association).send_c_get(study_of(images), GET)
    association.release()
    assert last.Status == 0x0000, last
    return got


def move_images(fleet: Fleet, pod: Pod, images: Sequence[Dataset]) -> dict[str, Dataset]:
    """What a Q/R pod sends of their study over C-MOVE, to a node that is added now."""
    got: dict[str, Dataset] = {}

    def keep(event: evt.Event) -> int:
        got[event.dataset.SOPInstanceUID] = event.dataset
        return 0x0000

    receiver = AE(ae_title="RECEIVER")
    receiver.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = receiver.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    fleet.run("nodes", "add", "RECEIVER", "127.0.0.1", str(server.socket.getsockname()[1]))
    association = associate(pod, MOVE)
    *_, (last, _) = park(association).send_c_move(study_of(images), "RECEIVER", MOVE)
    association.release()
    server.shutdown()
    assert last.Status == 0x0000, last
    return got


def counted(pods: Iterable[Pod], sample: str) -> float:
    """The sum of one sample over several pods' metrics, which each adds up over its own processes."""
    lines = [line for pod in pods for line in pod.probe("/metrics")[1].splitlines()]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))


def start_two_of_each(fleet: Fleet) -> tuple[Side, Side]:
    """Two whole archives on the same servers, ready."""
    first = {service: fleet.start(service) for service in SERVICES}
    second = {service: fleet.start(service) for service in SERVICES}
    for pod in fleet.pods:
        pod.wait_until_ready()
        assert pod.probe("/healthz")[0] == pod.probe("/metrics")[0] == 200
    return first, second


def send_at_once(
    associations: Sequence[Association], images: Sequence[Dataset], delay: Delay | None = None
) -> list[Future[None]]:
    """Begin to send the images, each over the next association in turn."""
    pool = ThreadPoolExecutor(len(associations))
    shares = [images[index :: len(associations)] for index in range(len(associations))]
    sending = [pool.submit(send, *pair, delay) for pair in zip(associations, shares, strict=True)]
    pool.shutdown(wait=False)
    return sending


def holders_of_the_turn(fleet: Fleet) -> int:
    """How many sweepers hold the lock of those who sweep."""
    return len(fleet.ask("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"))


@pytest.mark.timeout(900)
def test_two_of_each_service_are_one_archive_and_lose_nothing_when_one_of_each_ends(
    fleet: Fleet, s3_settings: S3Settings
) -> None:
    first, second = start_two_of_each(fleet)

    images = made_study(COUNT)
    everything = {str(image.SOPInstanceUID) for image in images}
    taking = (first["ingest"], second["ingest"], first["qr"])
    for done in send_at_once([associate_with(pod) for pod in taking], images):
        done.result()
    wait_until(lambda: fleet.instances(first["api"]) == COUNT)
    for side in (first, second):
        assert find_images(side["qr"], images) == everything
        assert fleet.instances(side["api"]) == COUNT
    assert get_images(first["qr"], images) == {image.SOPInstanceUID: image for image in images}
    assert move_images(fleet, second["qr"], images) == {image.SOPInstanceUID: image for image in images}

    made = "SELECT count(key), count(refusal) FROM rendition GROUP BY kind"
    wait_until(lambda: fleet.ask(made) == [(COUNT, 0)] * 2, 300, lambda: str(fleet.ask(made)))
    assert len(objects(s3_settings, "originals/")) == COUNT
    assert len(objects(s3_settings, "renditions/")) == 2 * COUNT
    assert counted(taking, 'gantry_dimse_stores_total{status="0000"}') == COUNT
    assert counted(fleet.pods, 'gantry_task_duration_seconds_count{outcome="done",task="gantry.index') > 0
    assert counted(fleet.pods, 'gantry_task_duration_seconds_count{outcome="done",task="gantry.trans') > 0

    wait_until(lambda: holders_of_the_turn(fleet) == 1)
    more = made_study(MORE)
    taking = (first["ingest"], second["ingest"], first["qr"])
    delay = Delay(len(taking))
    sending = send_at_once([associate_with(pod) for pod in taking], more, delay)
    delay.began.wait(PATIENCE_SECONDS)
    for pod in first.values():
        pod.terminate()
    for pod in (first["ingest"], first["qr"]):
        wait_until(lambda pod=pod: pod.probe("/readyz")[0] == 503, explain=pod.said)  # type: ignore[misc]
        assert pod.probe("/healthz")[0] == 200
        wait_until(lambda pod=pod: not is_open(pod.port))  # type: ignore[misc]
    assert not any(done.done() for done in sending)
    delay.over.set()
    assert {pod.command: pod.ended() for pod in first.values()} == dict.fromkeys(SERVICES, 0)
    for done in sending:
        done.result()
    wait_until(lambda: fleet.instances(second["api"]) == COUNT + MORE)
    assert find_images(second["qr"], more) == {str(image.SOPInstanceUID) for image in more}
    wait_until(lambda: holders_of_the_turn(fleet) == 1)

    # What was never told of is found by the sweeper that stood by.
    silent = fleet.start("ingest", GANTRY_REDIS__URL=f"redis://127.0.0.1:{free_port()}/0")
    silent.wait_until_ready()
    send(associate(silent), made_study(5))
    silent.terminate()
    assert silent.ended() == 0
    wait_until(
        lambda: fleet.instances(second["api"]) == COUNT + MORE + 5, explain=lambda: second["sweep"].said()
    )
    for pod in second.values():
        pod.terminate()
    assert {pod.command: pod.ended() for pod in second.values()} == dict.fromkeys(SERVICES, 0)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedRedis]]:
    """A PostgreSQL and a Redis that do not run yet."""
    with ArchiveLock(tmp_path / "servers") as lock:
        both = EmbeddedPostgres(lock, durable=False), EmbeddedRedis(lock)
        for server in both:
            server.prepare()
        yield both


@pytest.mark.timeout(600)
def test_ingest_starts_and_stores_without_the_database_and_the_queue_and_the_backlog_drains_by_itself(
    tmp_path: Path, servers: tuple[EmbeddedPostgres, EmbeddedRedis]
) -> None:
    postgres, redis = servers
    fleet = Fleet(tmp_path, postgres=postgres.settings, redis=redis.settings)
    running: list[EmbeddedPostgres | EmbeddedRedis] = []
    try:
        kept, killed = fleet.start("ingest"), fleet.start("ingest")
        others = [fleet.start(service) for service in SERVICES if service != "ingest"]
        images, more = made_study(20), made_study(20)
        for pod, sent in ((kept, images), (killed, more)):
            pod.wait_until_ready()
            send(associate(pod), sent)
        killed.process.kill()
        killed.process.wait()
        qr, api, *_ = others
        qr.wait_for_probe("/healthz")
        assert qr.probe("/readyz")[0] == 503
        assert kept.probe("/readyz")[0] == 200

        redis.start()
        running.append(redis)
        postgres.start()
        running.append(postgres)
        fleet.run("migrate")
        for pod in others:
            pod.wait_until_ready()
        wait_until(lambda: fleet.instances(api) == 40, explain=lambda: f"{fleet.instances(api)} of 40")
        for study in (images, more):
            assert find_images(qr, study) == {str(image.SOPInstanceUID) for image in study}
            assert get_images(qr, study) == {image.SOPInstanceUID: image for image in study}
    finally:
        fleet.end()
        for server in running:
            server.stop()


@pytest.mark.timeout(600)
def test_services_end_well_while_their_servers_are_down(
    tmp_path: Path, servers: tuple[EmbeddedPostgres, EmbeddedRedis]
) -> None:
    postgres, redis = servers
    fleet = Fleet(tmp_path, postgres=postgres.settings, redis=redis.settings)
    try:
        pods = [fleet.start(service) for service in SERVICES]
        for pod in pods:
            pod.wait_for_probe("/healthz")
        for pod in pods:
            pod.terminate()
        assert {pod.command: pod.ended() for pod in pods} == dict.fromkeys(SERVICES, 0)
    finally:
        fleet.end()


@pytest.mark.parametrize("service", ["ingest", "qr", "api", "index"])
def test_a_port_that_is_taken_is_told_in_one_line(
    service: str, tmp_path: Path, servers: tuple[EmbeddedPostgres, EmbeddedRedis]
) -> None:
    postgres, redis = servers
    fleet = Fleet(tmp_path, postgres=postgres.settings, redis=redis.settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        names = {"api": "GANTRY_HTTP__PORT", "index": "GANTRY_HEALTH__PORT"}
        setting = {names.get(service, "GANTRY_DICOM__PORT"): port}
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", service],
            env=fleet.environment | setting, timeout=PATIENCE_SECONDS,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"listen on 127.0.0.1:{port}: Address already in use" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
