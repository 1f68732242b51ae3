"""Folders and files that are still there after the power went, and that only their owner may read."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_KNOWN_FOLDERS = 1024


class DurableFolders:
    """Folders below `root`, made when they are needed, private to the owner."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, None] = {}

    def make(self, folder: Path) -> None:
        """Make the folder and its parents up to the root.

        Each is fsync'd once per process, whoever made it: the other may not have come to that yet.
        """
        if folder in self._known or folder == self._root:
            return
        if len(self._known) >= _KNOWN_FOLDERS:
            self._known.clear()
        self.make(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
        self._known[folder] = None

    def forget(self) -> None:
        """Look anew at every folder, after one has turned out to be gone."""
        self._known.clear()


class SharedSync:
    """Makes the names in folders durable, in a thread of its own and once for all who wait for a folder.

    An fsync serves those who had changed the folder before it began, and nobody else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forming: dict[Path, Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folder-sync")

    def begin(self, folder: Path) -> Future[None]:
        """What this thread has changed in the folder is durable when the result is there, or OSError."""
        with self._lock:
            forming = self._forming.get(folder)
            if forming is None:
                forming = self._forming[folder] = self._thread.submit(self._sync, folder)
        return forming

    def _sync(self, folder: Path) -> None:
        with self._lock:
            del self._forming[folder]  # who comes from here on has changed the folder too late
        sync_folder(folder)


def make_root(folder: Path) -> None:
    """Make a folder and its missing parents, each private and durable."""
    if not folder.is_dir():
        make_root(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private(path: str, flags: int) -> int:
    """The `opener` of a file that only its owner may read."""
    return os.open(path, flags, 0o600)


def remove_older(folder: Path, seconds: float) -> None:
    """Remove the files in a folder that nobody has written to for so long."""
    oldest = time.time() - seconds
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # its writer has ended, or another process removes them too
            if path.lstat().st_mtime < oldest:
                path.unlink()
