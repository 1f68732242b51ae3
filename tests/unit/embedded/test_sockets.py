from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.embedded.account import Account, make_private
from services.embedded.sockets import LONGEST_FOLDER, make_socket_folder, socket_folder

ME = Account(uid=os.geteuid(), gid=os.getegid(), dropped=False)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A data folder too far down for a socket's address."""
    folder = tmp_path.joinpath(*["a" * 40] * 4)
    folder.mkdir(parents=True)
    return folder


def test_short_path_keeps_its_sockets_in_the_archive(tmp_path: Path) -> None:
    assert make_socket_folder(tmp_path, ME) == tmp_path / "run" == socket_folder(tmp_path)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_long_path_gets_a_short_private_folder_and_keeps_it(deep: Path) -> None:
    folder = make_socket_folder(deep, ME)
    try:
        assert len(os.fsencode(folder)) <= LONGEST_FOLDER
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert make_socket_folder(deep, ME) == folder == socket_folder(deep)
        # /tmp was emptied: the same name again, as long as it is free.
        folder.rmdir()
        assert make_socket_folder(deep, ME) == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(folder)


def _take_by_link(name: Path) -> None:
    name.symlink_to("/tmp")


def _take_as_stranger(name: Path) -> None:
    name.mkdir()
    os.chown(name, 65534, 65534)


TRAPS = [_take_by_link, Path.touch] + ([_take_as_stranger] if os.geteuid() == 0 else [])


@pytest.mark.parametrize("take", TRAPS)
def test_a_name_that_somebody_else_took_meanwhile_is_never_used(
    deep: Path, take: Callable[[Path], None]
) -> None:
    taken = make_socket_folder(deep, ME)
    taken.rmdir()
    take(taken)
    try:
        fresh = make_socket_folder(deep, ME)
        assert fresh != taken
        assert fresh.stat().st_uid == ME.uid
        fresh.rmdir()
    finally:
        taken.rmdir() if taken.is_dir() and not taken.is_symlink() else taken.unlink()


def test_an_archive_that_never_ran_has_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no server has run"):
        socket_folder(tmp_path)


def test_a_widened_folder_is_closed_again(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    make_private(folder, ME)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_root_takes_over_what_is_his_own_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "1").touch()
    make_private(folder, Account(uid=65534, gid=65534, dropped=True))
    assert {path.stat().st_uid for path in (folder, *folder.rglob("*"))} == {65534}
    with pytest.raises(Unavailable, match="belongs to user 65534"):
        make_private(folder, Account(uid=1, gid=1, dropped=True))
