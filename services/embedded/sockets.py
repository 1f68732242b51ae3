"""The private folder that holds an archive's UNIX sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from services.common.errors import Unavailable
from services.embedded.account import Account, make_private

# sun_path has 108 bytes with its final NUL; the longest name that is put into the folder:
LONGEST_FOLDER = 107 - len("/.s.PGSQL.5432")


def socket_folder(data_dir: Path) -> Path:
    """Where the sockets of the archive in `data_dir` are; raises Unavailable where none was made yet."""
    run = data_dir.absolute() / "run"
    try:
        return run.resolve(strict=True)
    except FileNotFoundError:
        raise Unavailable(f"no server has run in {data_dir} yet") from None


def make_socket_folder(data_dir: Path, account: Account) -> Path:
    """The folder for the sockets, made private, and short enough for a socket's address.

    It is ``run`` in the data folder.  Where that path is too long, ``run`` is a link to a folder with a
    random name in a short place: nobody can have made that name beforehand, and the link, which only the
    archive's owner can write, says which one it is.
    """
    run = data_dir.absolute() / "run"
    if run.is_symlink():
        with contextlib.suppress(Unavailable):
            make_private(run.readlink(), account)
            return run.readlink()
        run.unlink()
    place = run.parent.resolve() / "run"
    if len(os.fsencode(place)) <= LONGEST_FOLDER:
        make_private(place, account)
        return place
    shutil.rmtree(place, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="gantry-", dir=_short_place()))
    make_private(folder, account)
    place.symlink_to(folder)
    return folder


def _short_place() -> Path:
    """A folder with a short path to make private folders in."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    if runtime.is_dir() and runtime.stat().st_uid == os.geteuid() and len(os.fsencode(runtime)) < 60:
        return runtime
    return Path("/tmp")
