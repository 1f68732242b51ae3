"""Programs of other projects, and which of them are absent here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "Orthanc": "apt-get install orthanc orthanc-dicomweb",
    "curl": "apt-get install curl",
    "minio": "make tools (needs Go)",
    "qrscp": "needs SQLAlchemy: make bench installs it",
}
_DCMTK = "apt-get install dcmtk"
CLIENTS = ("storescu", "findscu", "getscu", "movescu", "echoscu", "storescp")
"""Without these nothing can be measured."""


def find(program: str) -> Path | None:
    """Where the program is; never pynetdicom's programs of the same names, which lie beside this Python."""
    own = str(Path(sys.executable).parent)
    folders = [folder for folder in (*os.get_exec_path(), "/usr/sbin", "/usr/bin") if folder != own]
    if program == "minio":
        script = Path(__file__).parents[1] / "tests" / "install_tools.sh"
        built = subprocess.run(["sh", script, "--path"], capture_output=True, text=True, check=True).stdout
        folders.append(built.strip())
        if named := os.environ.get("GANTRY_TEST_MINIO"):
            return Path(named)
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None


def present(program: str) -> bool:
    """Whether it can be run; `qrscp` is a module of Python, which needs another one."""
    if program == "qrscp":
        return find_spec("sqlalchemy") is not None
    return find(program) is not None


def path(program: str) -> str:
    """Where a program is that was found before.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = find(program)
    if found is None:
        raise FileNotFoundError(f"{program} is absent: {hint(program)}")
    return str(found)


def hint(program: str) -> str:
    """How the program is to be had."""
    return PACKAGES.get(program, _DCMTK)


def version(program: str) -> str:
    """What the program calls its version, in a word; empty where it tells none."""
    told = subprocess.run([path(program), "--version"], capture_output=True, text=True, check=False)
    first = (told.stdout or told.stderr).splitlines()[:1]
    words = [word.lstrip("v") for word in " ".join(first).split()]
    return next((word for word in words if word[:1].isdigit() and "." in word), "")
