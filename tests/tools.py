"""Tools that may be absent from a machine: found here, and listed in one table at the end of a run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_HINTS = {
    "minio": "make tools (needs Go)",
    "haproxy": "apt-get install haproxy",
    "chromium": "apt-get install chromium",
    "dciodvfy": "apt-get install dicom3tools",
    "gdcmconv": "apt-get install libgdcm-tools",
    "mount": "run the tests as root, in a container with CAP_SYS_ADMIN",
    "corpus": "set GANTRY_TEST_CORPUS to a folder of DICOM files with a MANIFEST.tsv",
    "viewer": "make viewer (needs npm)",
}
_DCMTK = "apt-get install dcmtk"

absent: dict[str, str] = {}


def require_all() -> bool:
    """Whether an absent tool is a failure."""
    return os.environ.get("GANTRY_TEST_REQUIRE") == "all"


def report_absent(name: str) -> None:
    """Note that `name` is not to be had; a failure where all are required."""
    absent[name] = _HINTS.get(name, _DCMTK)
    if require_all():
        pytest.fail(f"{name} is required and absent: {absent[name]}", pytrace=False)


def find_tool(name: str) -> Path:
    """Where the program is, by ``GANTRY_TEST_<NAME>`` or on the path; skips the test where it is absent."""
    found = os.environ.get(f"GANTRY_TEST_{name.upper()}") or shutil.which(name, path=_search_path())
    if found is None:
        report_absent(name)
        pytest.skip(f"{name} is absent")
    return Path(found)


def _search_path() -> str:
    """Where programs are looked for: not beside this Python, for pynetdicom has a storescu of its own."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join(folder for folder in os.get_exec_path() if folder != own)


def find_corpus() -> Path | None:
    """Real and hostile files: the folder ``GANTRY_TEST_CORPUS``, else ``shared/corpus`` beside the repo."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpus"
    folder = Path(os.environ.get("GANTRY_TEST_CORPUS", beside))
    return folder if (folder / "MANIFEST.tsv").is_file() else None
