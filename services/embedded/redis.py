"""The embedded Redis: the queues' broker on a private UNIX socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from services.common import logs
from services.common.settings import RedisSettings
from services.embedded.account import account_for, make_private
from services.embedded.activity import activity
from services.embedded.binaries import redis_program
from services.embedded.lock import ArchiveLock
from services.embedded.process import Child, ChildSpec, start
from services.embedded.sockets import make_socket_folder, socket_folder

SOCKET_NAME = "redis.sock"

_log = logs.get(__name__)


def redis_settings(data_dir: Path) -> RedisSettings:
    """How Celery reaches the Redis of the archive in `data_dir`: in the form that kombu reads."""
    path = quote(str(socket_folder(data_dir) / SOCKET_NAME))
    return RedisSettings(url=SecretStr(f"redis+socket://{path}?virtual_host=0"))


class EmbeddedRedis:
    """Redis on the ``redis`` folder in an archive's data folder, with an append-only file."""

    def __init__(self, lock: ArchiveLock) -> None:
        """`lock` must be held when the server starts."""
        self._data_dir = lock.data_dir
        self._folder = self._data_dir / "redis"
        self._lock = lock
        self._child: Child | None = None
        self._pid_file = self._folder / "redis.pid"

    @property
    def settings(self) -> RedisSettings:
        """How Celery reaches it."""
        return redis_settings(self._data_dir)

    @property
    def client_url(self) -> str:
        """How redis-py reaches it, which reads another form of URL than kombu."""
        return f"unix://{quote(str(socket_folder(self._data_dir) / SOCKET_NAME))}?db=0"

    def prepare(self) -> None:
        """Make its folders, closed to others; raises Unavailable for a folder of another user."""
        account = account_for(self._data_dir)
        make_private(self._folder, account)
        make_socket_folder(self._data_dir, account)
        self._pid_file.unlink(missing_ok=True)

    def child_spec(self) -> ChildSpec:
        """How the supervisor runs it."""
        self.prepare()
        account = account_for(self._data_dir)
        settings = {
            "port": "0",
            "unixsocket": str(make_socket_folder(self._data_dir, account) / SOCKET_NAME),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "pidfile": str(self._pid_file),
            "daemonize": "no",
            "databases": "16",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "maxmemory-policy": "noeviction",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return ChildSpec(
            name="redis",
            argv=(str(redis_program()), *options),
            env=os.environ | {"LC_ALL": "C"},
            prepare=self.prepare,
            ready=self._ready,
            progress=self._progress,
            repair=self.repair,
            stop_signal=signal.SIGTERM,
            stop_timeout=20.0,
            death_signal=signal.SIGTERM,
            stage=0,
            output=self._data_dir / "logs" / "redis.log",
            account=account,
            keep_fds=(self._lock.fd,),
        )

    def repair(self) -> bool:
        """Set an append-only file aside that Redis cannot read, and say whether there was one.

        A torn end is read over by Redis itself; this is for what a power failure or another version made of
        the file.  The queue may be lost: the sweeper fills it again from the object store.
        """
        written = [
            self._folder / name for name in ("appendonlydir/appendonly.aof.manifest", "appendonly.aof")
        ]
        if all(_is_intact(path) for path in written if path.exists()):
            return False
        aside = self._folder.with_name(f"redis.unreadable-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        self._folder.rename(aside)
        _log.error("queue_set_aside", folder=str(aside))
        return True

    def start(self) -> None:
        """Run it under this process, without a supervisor; ready to be connected to on return."""
        self._child = start(self.child_spec())

    def stop(self) -> None:
        """Stop what :meth:`start` started; safe to repeat."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    @property
    def pid(self) -> int | None:
        """The server's process id, as far as its pid file says."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._pid_file.read_text(encoding="ascii"))
        return None

    def _ready(self) -> bool:
        """Whether it answers PING; while it reads its append-only file it says LOADING instead."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1.0)
            client.connect(str(socket_folder(self._data_dir) / SOCKET_NAME))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False

    def _progress(self) -> object:
        """Changes as long as the server is at work; a long append-only file may take its time."""
        return activity(self.pid)


def _is_intact(written: Path) -> bool:
    """Whether Redis's own check finds nothing wrong; under that name the server's program is the checker."""
    check = ["redis-check-aof", str(written)]
    done = subprocess.run(check, executable=redis_program(), stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0
