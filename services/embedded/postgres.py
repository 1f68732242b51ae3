"""The embedded PostgreSQL: a real server on a private UNIX socket, which dies with its supervisor."""

from __future__ import annotations

import signal
from pathlib import Path

from services.common.settings import PostgresSettings
from services.embedded.account import account_for, make_private
from services.embedded.activity import activity
from services.embedded.binaries import postgres_programs
from services.embedded.cluster import (
    DATABASE,
    SUPERUSER,
    USER,
    environment,
    make_cluster,
    postmaster_pid,
    remove_stale_pid_files,
    write_access_rules,
)
from services.embedded.lock import ArchiveLock
from services.embedded.process import Child, ChildSpec, start
from services.embedded.sockets import make_socket_folder, socket_folder

_FORCED_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "logging_collector": "off",
    "log_destination": "stderr",
    # A statement, a parameter or a detail could hold patient data: errors go to the client alone.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_startup_progress_interval": "1s",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
_FLEETING = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def postgres_settings(data_dir: Path) -> PostgresSettings:
    """How to reach the PostgreSQL of the archive in `data_dir`, where one runs."""
    return PostgresSettings(host=str(socket_folder(data_dir)), user=USER, database=DATABASE)


class EmbeddedPostgres:
    """PostgreSQL on the ``postgres`` folder in an archive's data folder.

    Its user ``gantry`` owns the database ``gantry``.  Who may connect is decided by the socket's private
    folder and by peer authentication, so that there is no password to keep.
    """

    def __init__(self, lock: ArchiveLock, *, durable: bool = True) -> None:
        """`lock` must be held when the server starts.  `durable` False is for tests: fast, not safe."""
        self._data_dir = lock.data_dir
        self._folder = self._data_dir / "postgres"
        self._lock = lock
        self._durable = durable
        self._child: Child | None = None

    @property
    def settings(self) -> PostgresSettings:
        """How Gantry's services reach it."""
        return postgres_settings(self._data_dir)

    @property
    def superuser(self) -> PostgresSettings:
        """How its administrator reaches it."""
        return self.settings.model_copy(update={"user": SUPERUSER, "database": SUPERUSER})

    def prepare(self) -> None:
        """Make the data folder if it is new, and put right what a killed server or a stranger left.

        Raises Unavailable for data of another major version, a folder of another user, or a server that was
        started by hand.
        """
        keep_fd = self._lock.fd
        account = account_for(self._data_dir)
        sockets = make_socket_folder(self._data_dir, account)
        make_cluster(self._folder, account, durable=self._durable, keep_fd=keep_fd)
        make_private(self._folder, account)
        remove_stale_pid_files(self._folder, sockets)
        write_access_rules(self._folder, account)

    def child_spec(self) -> ChildSpec:
        """How the supervisor runs it."""
        account = account_for(self._data_dir)
        sockets = str(make_socket_folder(self._data_dir, account)).replace('"', '""')
        settings = _FORCED_SETTINGS | (_DURABLE if self._durable else _FLEETING)
        settings["unix_socket_directories"] = f'"{sockets}"'
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ChildSpec(
            name="postgres",
            argv=(str(postgres_programs() / "postgres"), "-D", str(self._folder), *options),
            env=environment(),
            prepare=self.prepare,
            ready=self._ready,
            progress=self._progress,
            # Fast: clients are cut off, and the data folder is left clean.
            stop_signal=signal.SIGINT,
            stop_timeout=60.0,
            # Immediate: ends every backend within 5 s and leaves the rest to recovery.  When the supervisor
            # was killed too, for the next run must not wait for a checkpoint on a disk that may be slow.
            hurry_signal=signal.SIGQUIT,
            death_signal=signal.SIGQUIT,
            stage=0,
            output=self._data_dir / "logs" / "postgres.log",
            account=account,
            keep_fds=(self._lock.fd,),
        )

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
        return postmaster_pid(self._folder)

    def _ready(self) -> bool:
        """Whether the server says that it takes connections: line 8 of its pid file."""
        try:
            lines = (
                (self._folder / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
            )
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _progress(self) -> object:
        """Changes as long as the server is at work; crash recovery may take its time."""
        return activity(self.pid)
