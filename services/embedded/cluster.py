"""A PostgreSQL data folder: making it whole or not at all, and keeping strangers and strays out of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from services.common.errors import Unavailable
from services.embedded.account import Account, make_private, name_of
from services.embedded.binaries import POSTGRES_MAJOR, postgres_programs
from services.embedded.process import wrapped

DATABASE = "gantry"
USER = "gantry"
SUPERUSER = "postgres"

# What a new folder's postgresql.conf says; the operator may change it there.
INITIAL_SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "random_page_cost": "1.1",
    # POSIX shared memory is 64 MB small in a container, and is removed when its user logs out.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_FIRST_STATEMENTS = f"CREATE ROLE {USER} LOGIN;\n\nCREATE DATABASE {DATABASE} OWNER {USER};\n\n"


def environment() -> Mapping[str, str]:
    """This process's environment without what would turn PostgreSQL's head."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def make_cluster(folder: Path, account: Account, *, durable: bool, keep_fd: int) -> None:
    """Make the data folder with its role and database, if it is not there yet.

    It is made under another name, which becomes its own by a rename at the very end: whatever a crash leaves
    behind is not taken for a data folder, and is made again.  Raises Unavailable for data of another major
    version, and for a folder that holds something else.
    """
    version = folder / "PG_VERSION"
    if version.exists():
        found = version.read_text(encoding="ascii").strip()
        if found != str(POSTGRES_MAJOR):
            raise Unavailable(
                f"{folder} was made by PostgreSQL {found}, and this is PostgreSQL {POSTGRES_MAJOR}:"
                f" dump it with the programs of version {found}, move it away, and restore the dump"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise Unavailable(f"{folder} is not empty, and it is not a PostgreSQL data folder")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    make_private(partial, account)
    programs = postgres_programs()
    settings = [f"--set={name}={value}" for name, value in INITIAL_SETTINGS.items()]
    where = ["-D", str(partial)]
    _run(
        [
            *(str(programs / "initdb"), *where, "-U", SUPERUSER, "--locale=C", "--encoding=UTF8"),
            *("--auth-local=peer", "--auth-host=reject", "--no-instructions", *settings),
            *(() if durable else ("--no-sync",)),
        ],
        account=account,
        keep_fd=keep_fd,
    )
    _run(
        [str(programs / "postgres"), "--single", *where, "-c", "exit_on_error=on", "-j", SUPERUSER],
        account=account,
        keep_fd=keep_fd,
        text=_FIRST_STATEMENTS,
    )
    partial.rename(folder)
    _sync(folder.parent)


def _run(argv: list[str], *, account: Account, keep_fd: int, text: str = "") -> None:
    """Run one of PostgreSQL's programs to its end, unless this process ends first."""
    done = subprocess.run(
        wrapped(argv, account=account, death_signal=signal.SIGKILL),
        input=text,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=(keep_fd,),
    )
    if done.returncode != 0:
        raise Unavailable(
            f"{Path(argv[0]).name} failed with status {done.returncode}:\n{done.stdout.strip()}"
        )


def write_access_rules(folder: Path, account: Account) -> None:
    """Let in the user of this process and the server's own, as the kernel names them, and no one else."""
    names = sorted({name_of(account.uid), name_of(os.geteuid())})
    _write(folder / "pg_hba.conf", "local all all peer map=gantry\n", account)
    lines = [f'gantry "{name}" {role}\n' for name in names for role in (USER, SUPERUSER)]
    _write(folder / "pg_ident.conf", "".join(lines), account)


def _write(path: Path, text: str, account: Account) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o600)
    if account.dropped:
        os.chown(fresh, account.uid, account.gid)
    fresh.replace(path)


def remove_stale_pid_files(folder: Path, sockets: Path) -> None:
    """Take away the pid files that a killed server left, so that no pid in them is ever believed.

    PostgreSQL refuses to start when the pid in them is any living process.  Who holds the archive's lock
    knows that no server of Gantry's lives; one that was started by hand could, and that one is looked for.
    """
    pid = postmaster_pid(folder)
    if pid is not None and _serves(pid, folder):
        raise Unavailable(
            f"process {pid} is a PostgreSQL that was started by hand on {folder}: stop it first"
        )
    (folder / "postmaster.pid").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def postmaster_pid(folder: Path) -> int | None:
    """The pid in the data folder's ``postmaster.pid``, or None where there is none."""
    try:
        first = (folder / "postmaster.pid").read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return None
    return int(first) if first.strip().isdigit() else None


def _serves(pid: int, folder: Path) -> bool:
    """Whether the process is a PostgreSQL server on this very folder, in which its server always is."""
    proc = Path(f"/proc/{pid}")
    try:
        if proc.stat().st_uid != folder.stat().st_uid:
            return False
        if (proc / "comm").read_text(encoding="utf-8", errors="replace").strip() != "postgres":
            return False
        try:
            return (proc / "cwd").samefile(folder)
        except PermissionError:  # root in a container may not look into the processes of others
            return os.fsencode(folder) in (proc / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _sync(folder: Path) -> None:
    """Make a rename within `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
