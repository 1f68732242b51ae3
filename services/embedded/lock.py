"""One archive, one run: a lock that is held until the last process of a run has gone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from services.common.errors import Unavailable

LEFTOVER_SECONDS = 30.0


class ArchiveLock:
    """The right to run servers on a data folder.

    An flock(2) that servers inherit (:attr:`fd`, see ``ChildSpec.keep_fds``): after a killed supervisor it
    stays taken until the last process that writes to the folder has ended, whatever pid files say.  The
    kernel frees it; there is no stale lock to remove.
    """

    def __init__(self, data_dir: Path, *, leftover_seconds: float = LEFTOVER_SECONDS) -> None:
        """`leftover_seconds` is how long to wait for the dying servers of a run that was killed."""
        self.data_dir = data_dir.absolute()
        self._path = self.data_dir / "archive.lock"
        self._leftover_seconds = leftover_seconds
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The file descriptor that holds the lock."""
        if self._fd is None:
            raise RuntimeError("the lock is not held")
        return self._fd

    def acquire(self) -> None:
        """Take the lock; raises :class:`Unavailable` with the holder's pid where another run has it."""
        if self._fd is not None:
            raise RuntimeError("the lock is held already")
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise Unavailable(f"{self._path} cannot be opened: {exc.strerror}") from exc
        try:
            self._lock(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {_started(os.getpid())}\n".encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _lock(self, fd: int) -> None:
        give_up = time.monotonic() + self._leftover_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            pid, _, started = os.pread(fd, 64, 0).decode("ascii", "replace").partition(" ")
            if pid.isdigit() and _started(int(pid)) == started.strip():
                raise Unavailable(f"the archive in {self.data_dir} is in use by process {pid}")
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"servers that process {pid or '?'} left behind still run on {self.data_dir}"
                )
            time.sleep(0.05)

    def release(self) -> None:
        """Give the lock back, as far as this process holds it; safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> ArchiveLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot: together with its pid it is never given out twice.

    Empty where no such process runs.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]
