"""The sweeper and the index service on real servers: whatever was lost on the way reaches the catalog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom.data
import pytest
import redis as redis_client

from services.common.adapters.files import FolderStore
from services.common.adapters.postgres import Postgres
from services.common.catalog.sweeping import PostgresSweeping
from services.common.catalog.writer import PostgresCatalogWriter
from services.common.errors import Unavailable
from services.common.intake import Intake
from services.common.model import Rendition, RenditionKind, Route, Source, StoredInstance
from services.common.ports import EventBus
from services.common.quarantine import StoreQuarantine
from services.common.settings import PostgresSettings, RedisSettings, StoreSettings
from services.embedded.redis import EmbeddedRedis
from services.index.extract import extract
from services.index.held import SWEEP_TASK
from services.index.settings import SweepSettings
from services.index.sweeper import Sweeper
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.publisher import RememberingPublisher
from tests.fakes.small_dicom import small_file
from tests.servers import TestPostgres, connect
from tests.waiting import PATIENCE_SECONDS, is_ever_quicker, wait_until

DAY = 86400.0


class Archive:
    """A folder, a catalog, and an intake whose messages are all lost."""

    def __init__(self, root: Path, postgres: Postgres) -> None:
        self.root = root
        self.store = FolderStore(root / "blobs", longest_put_seconds=7200)
        self.postgres = postgres
        self.writer = PostgresCatalogWriter(postgres)
        self.sweeping = PostgresSweeping(postgres)
        self.quarantine = StoreQuarantine(self.store)

    def stored(self, number: int, *, seconds_ago: float = 0.0, **values: str) -> StoredInstance:
        when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        intake = Intake(self.store, RememberingPublisher(), self.quarantine, clock=lambda: when)
        source = Source(route=Route.DIMSE, calling_aet="CT1", called_aet="GANTRY")
        return intake.accept_file(small_file(number, **values), source)

    def index(self, *stored: StoredInstance) -> None:
        self.writer.upsert([extract(one) for one in stored])

    def render(self, *stored: StoredInstance) -> None:
        for one in stored:
            self.writer.record_rendition(
                Rendition(
                    sop_instance_uid=one.key.sop_instance_uid,
                    source_digest=one.digests.data_set,
                    source_transfer_syntax_uid=one.transfer_syntax_uid,
                    kind=RenditionKind.JPEG2000,
                    refusal="it has no pixels",
                )
            )

    def keys(self) -> list[str]:
        return [stat.key for stat in self.store.list("originals/")]

    def sweeper(self, bus: EventBus) -> Sweeper:
        return Sweeper(
            store=self.store,
            catalog=self.writer,
            watermarks=self.sweeping,
            leftovers=self.sweeping,
            bus=bus,
            quarantine=self.quarantine,
            clear_uploads=lambda: None,
            settings=SweepSettings(youngest=0),
            put=StoreSettings(),
        )


@pytest.fixture
def archive(tmp_path: Path, catalog: Postgres) -> Archive:
    return Archive(tmp_path, catalog)


def test_what_the_catalog_lacks_is_told_of_once(archive: Archive) -> None:
    lost = [archive.stored(n, seconds_ago=100 - n) for n in range(5)]
    archive.index(lost[2])
    archive.render(lost[2])
    bus = MemoryBus()
    sweeper = archive.sweeper(bus)
    sweeper.sweep(lambda: True)
    sweeper.sweep(lambda: True)
    assert [event.instances for event in bus.queues["index"]] == [tuple(lost[:2] + lost[3:])]


def test_what_has_no_rendition_is_told_of_until_it_has_one(archive: Archive) -> None:
    stored = [archive.stored(n, seconds_ago=700) for n in range(4)]
    young = archive.stored(9, seconds_ago=100)
    archive.index(*stored, young)
    archive.render(stored[1])
    bus = MemoryBus()
    archive.sweeper(bus).sweep(lambda: True)
    told = [i for event in bus.queues["transcode"] for i in event.instances]
    assert [i.blob for i in told] == [stored[n].blob for n in (0, 2, 3)]
    assert told[0].data_set_digest == stored[0].digests.data_set
    assert told[0].key == stored[0].key
    archive.render(*stored)
    bus = MemoryBus()
    archive.sweeper(bus).sweep(lambda: True)
    assert "transcode" not in bus.queues


def test_instances_are_walked_through_in_windows(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.catalog.sweeping._WINDOW", 3)
    stored = [archive.stored(n, seconds_ago=700) for n in range(8)]
    archive.index(*stored)
    now = datetime.now(UTC)
    newest = archive.sweeping.unrendered(after=None, before=now)
    assert [i.blob for i in newest.instances] == [s.blob for s in stored[5:]]
    assert not newest.more
    seen, after = [], 0
    for _ in range(5):
        page = archive.sweeping.unrendered(after=after, before=now)
        seen += [i.blob for i in page.instances]
        after = page.through
        if not page.more:
            break
    assert seen == [s.blob for s in stored]
    keys = {s.blob.key for s in stored}
    assert archive.sweeping.still_unrendered(keys) == keys


def test_a_duplicate_goes_after_a_day_and_what_is_served_stays(archive: Archive) -> None:
    kept = archive.stored(1, seconds_ago=3 * DAY)
    second = archive.stored(1, seconds_ago=2 * DAY)
    third = archive.stored(1, seconds_ago=DAY / 2)
    another = archive.stored(1, seconds_ago=2 * DAY, PatientID="P2")
    archive.index(kept, second, third, another)
    archive.index(kept, archive.stored(1, seconds_ago=DAY / 3))
    archive.sweeper(MemoryBus()).sweep(lambda: True)
    left = archive.keys()
    assert second.blob.key not in left
    assert {kept.blob.key, third.blob.key, another.blob.key} <= set(left)
    archive.sweeper(MemoryBus()).sweep(lambda: True)
    assert archive.keys() == left
    assert archive.writer.missing(left) == set()


def test_a_duplicate_of_a_damaged_blob_stays(archive: Archive) -> None:
    kept, second = (archive.stored(1, seconds_ago=days * DAY) for days in (3, 2))
    archive.index(kept, second)
    (path,) = (p for p in archive.root.rglob("*.dcm") if p.name in kept.blob.key)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    archive.sweeper(MemoryBus()).sweep(lambda: True)
    assert archive.keys() == [kept.blob.key, second.blob.key]


def test_a_duplicate_that_is_served_meanwhile_is_not_forgotten(archive: Archive) -> None:
    kept, second = (archive.stored(1, seconds_ago=days * DAY) for days in (3, 2))
    archive.index(kept, second)
    (duplicate,) = archive.sweeping.duplicates(before=datetime.now(UTC))
    archive.index(archive.stored(1, PatientID="P2"))
    with archive.sweeping.forgetting(duplicate) as still_one:
        assert not still_one
    assert archive.writer.missing([second.blob.key]) == set()


def test_a_duplicate_that_cannot_be_deleted_is_not_forgotten(archive: Archive) -> None:
    kept, second = (archive.stored(1, seconds_ago=days * DAY) for days in (3, 2))
    archive.index(kept, second)
    (duplicate,) = archive.sweeping.duplicates(before=datetime.now(UTC))
    with pytest.raises(OSError, match="no disk"), archive.sweeping.forgetting(duplicate):
        raise OSError("no disk")
    assert archive.sweeping.duplicates(before=datetime.now(UTC)) == [duplicate]


@contextmanager
def service(name: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", name], env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def environment(
    archive: Archive, catalog_settings: PostgresSettings, fresh_redis: RedisSettings
) -> dict[str, str]:
    settings = {
        "DATA_DIR": str(archive.root),
        "POSTGRES__HOST": catalog_settings.host,
        "POSTGRES__PORT": str(catalog_settings.port),
        "POSTGRES__DATABASE": catalog_settings.database,
        "POSTGRES__USER": catalog_settings.user,
        "REDIS__URL": fresh_redis.url.get_secret_value(),
        "SWEEP__INTERVAL": "0.2",
        "SWEEP__YOUNGEST": "0",
        "SWEEP__AGAIN_AFTER": "1",
        "SWEEP__RENDITION_AFTER": "1000000",
        "INDEX__PROCESSES": "1",
    }
    if catalog_settings.password is not None:
        settings["POSTGRES__PASSWORD"] = catalog_settings.password.get_secret_value()
    return os.environ | {f"GANTRY_{name}": value for name, value in settings.items()}


def complete(archive: Archive) -> Callable[[], bool]:
    def is_complete() -> bool:
        try:
            return not archive.writer.missing(archive.keys())
        except Unavailable:  # this test's own connection may be among those that were cut off
            return False

    return is_complete


def test_what_redis_forgot_is_indexed_without_anybodys_help(
    archive: Archive, environment: dict[str, str], redis_server: EmbeddedRedis
) -> None:
    for number in range(120):
        archive.stored(number)
    broken = archive.store.create(f"{archive.keys()[0][:-36]}{'0' * 12}7000{'8' + '0' * 15}.dcm")
    broken.write(b"this is no DICOM file")
    broken.commit({})
    log = archive.root / "log"
    with (
        service("services.index.sweep", environment, log) as sweep,
        service("services.index.sweep", environment, log) as standby,
    ):
        with closing(redis_client.Redis.from_url(redis_server.client_url)) as client:
            wait_until(lambda: client.llen("gantry:index:index") >= 3)
            client.flushall()
        with service("services.index", environment, log) as index:
            wait_until(lambda: len(archive.writer.missing(archive.keys())) == 1)
            for number in range(200, 220):
                archive.stored(number)
            sweep.kill()
            sweep.wait()
            wait_until(
                lambda: len(archive.writer.missing(archive.keys())) == 1, explain="the standby does nothing"
            )
            for process in (index, standby):
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_SECONDS) == 0
    (entry,) = archive.quarantine.entries()
    assert entry.kind == SWEEP_TASK


def test_what_transcode_never_heard_of_gets_its_renditions(
    archive: Archive, environment: dict[str, str], catalog_settings: PostgresSettings
) -> None:
    source = Source(route=Route.DIMSE, calling_aet="CT1", called_aet="GANTRY")
    intake = Intake(archive.store, RememberingPublisher(), archive.quarantine)
    with Path(pydicom.data.get_testdata_file("CT_small.dcm")).open("rb") as image:  # type: ignore[arg-type]
        archive.index(intake.accept_file(image, source))
    environment |= {"GANTRY_SWEEP__RENDITION_AFTER": "0", "GANTRY_TRANSCODE__PROCESSES": "1"}
    log = archive.root / "log"

    def kinds() -> set[tuple[str, bool]]:
        with closing(connect(catalog_settings)) as connection, connection.cursor() as cur:
            cur.execute("SELECT kind, key IS NOT NULL FROM rendition")
            return set(cur.fetchall())

    with (
        service("services.index.sweep", environment, log),
        service("services.transcode", environment, log) as transcode,
    ):
        wait_until(lambda: kinds() == {("thumbnail", True), ("jpeg2000", True)})
        transcode.send_signal(signal.SIGTERM)
        assert transcode.wait(PATIENCE_SECONDS) == 0


def test_the_sweeper_waits_for_postgres_and_goes_on_after_it(
    archive: Archive,
    environment: dict[str, str],
    postgres: TestPostgres,
    catalog_settings: PostgresSettings,
) -> None:
    log = archive.root / "log"
    cut_off = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{catalog_settings.database}' AND pid <> pg_backend_pid()"
    )
    with (
        service("services.index.sweep", environment, log) as sweep,
        service("services.index", environment, log) as index,
    ):
        for round_number in range(3):
            for number in range(10):
                archive.stored(100 * round_number + number)
            postgres.execute(cut_off)
            wait_until(complete(archive))
        assert sweep.poll() is None and index.poll() is None
        with closing(connect(catalog_settings)) as connection, connection.cursor() as cur:
            cur.execute("SELECT count(*) FROM instance")
            assert cur.fetchone() == (30,)
    assert "Traceback" not in log.read_text()


def test_a_round_over_a_settled_archive_is_quick(archive: Archive) -> None:
    archive.index(*(archive.stored(n, seconds_ago=3 * DAY) for n in range(300)))
    sweeper = archive.sweeper(MemoryBus())
    sweeper.sweep(lambda: True)
    assert is_ever_quicker(1.0, lambda: sweeper.sweep(lambda: True))
