"""Turns itself into another program that dies with its parent; run as a script, standard library alone.

``python -I -S child.py PARENT-PID DEATH-SIGNAL USER program argument…``, where USER is ``uid:gid`` to
drop to, or ``-`` to stay.

A script of its own rather than a ``preexec_fn``: between fork and exec Python code may not run safely in a
process that has threads.  The order below is forced by the kernel (prctl(2), capabilities(7)): a change of
user clears both the death signal and the capabilities, so both are set after it; and neither would survive
the exec of a program with more privileges than this process, which a server never is.

The kernel sends the death signal when the *thread* that made the child ends, not only when its process
does: a child is started from the main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def die_with_parent(death_signal: int, parent: int) -> None:
    """Have the kernel send this process `death_signal` when the thread that made it ends.

    Leaves at once when `parent`, a pid, is already gone.
    """
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def become(uid: int, gid: int, program: str) -> None:
    """Drop from root to another user, who keeps the right to reach `program` and its data.

    The one right that is kept lets him pass folders that are closed to him, for the data and the program may
    lie below a private folder such as ``/root``.  Where root itself has no such right, or where root alone
    may run the program, it is the right to pass by the permissions of files altogether.
    """
    held = _permitted_capabilities()
    kept = [cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if held >> cap & 1]
    _prctl(PR_SET_KEEPCAPS, 1)
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as exc:
        sys.exit(f"root cannot become user {uid} here ({exc.strerror}): run this as an ordinary user")
    _set_capabilities(permitted=kept, effective=kept[:1])
    if os.access(program, os.X_OK, effective_ids=True):
        kept = kept[:1]
    _set_capabilities(permitted=kept, effective=kept)
    for cap in kept:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap)


def _permitted_capabilities() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapPrm:")), 0)


def _set_capabilities(*, permitted: Sequence[int], effective: Sequence[int]) -> None:
    data = (_CapabilityData * 2)()
    data[0].permitted = sum(1 << cap for cap in permitted)
    data[0].effective = data[0].inheritable = sum(1 << cap for cap in effective)
    if _libc.capset(ctypes.byref(_CapabilityHeader(LINUX_CAPABILITY_VERSION_3, 0)), data) != 0:
        raise OSError(ctypes.get_errno(), "capset refused")


def _prctl(option: int, first: int, second: int = 0) -> None:
    if _libc.prctl(
        option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        raise OSError(ctypes.get_errno(), f"prctl {option} refused")


def main() -> None:
    """Drop, bind to the parent's life, exec."""
    parent, death_signal, user, *argv = sys.argv[1:]
    if user != "-":
        uid, gid = user.split(":")
        become(int(uid), int(gid), argv[0])
    die_with_parent(int(death_signal), int(parent))
    # Python ignores SIGPIPE, a shell may have ignored more; the program must not inherit that.
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_DFL)
    os.umask(0o077)
    try:
        os.execv(argv[0], argv)
    except OSError as exc:
        sys.exit(f"{argv[0]}: {exc.strerror}")


if __name__ == "__main__":
    main()
