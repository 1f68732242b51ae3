"""Who the embedded servers run as, and the folders that belong to him alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import Unavailable

SERVICE_USERS = ("gantry", "postgres", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the operating system.  `dropped` says that root becomes him to run a server."""

    uid: int
    gid: int
    dropped: bool


def account_for(data_dir: Path) -> Account:
    """Who runs the servers of an archive: whoever started Gantry, but never root, as whom PostgreSQL refuses.

    For root it is the owner of the database there, so that an archive stays with its user; a new archive goes
    to the first of :data:`SERVICE_USERS` that exists.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), dropped=False)
    database = data_dir / "postgres"
    if database.exists():
        owner = database.stat()
        if owner.st_uid != 0:
            return Account(uid=owner.st_uid, gid=owner.st_gid, dropped=True)
    for name in SERVICE_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, dropped=True)
    raise Unavailable(f"root needs one of the users {', '.join(SERVICE_USERS)} to run PostgreSQL as")


def name_of(uid: int) -> str:
    """The name that belongs to `uid`, which PostgreSQL needs to know a peer by."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise Unavailable(f"user {uid} has no name in the system's user database") from None


def make_private(folder: Path, account: Account) -> None:
    """Make `folder` exist, belong to `account`, and be closed to everyone else.

    Permissions that were widened are put right.  A folder of another user is refused; only root takes over
    what is his own, with all that is in it.
    """
    try:
        _make_private(folder, account)
    except OSError as exc:
        hint = "; where root has few rights, run this as an ordinary user" if account.dropped else ""
        raise Unavailable(f"{folder} cannot be made private: {exc.strerror}{hint}") from exc


def _make_private(folder: Path, account: Account) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Unavailable(f"{folder} is not a folder")
    if found.st_uid != account.uid:
        if not account.dropped or found.st_uid != 0:
            raise Unavailable(f"{folder} belongs to user {found.st_uid}, not to user {account.uid}")
        for path in [*folder.rglob("*"), folder]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
