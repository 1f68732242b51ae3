"""The folder in which the processes of a service share what they count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.cli.counting import MULTIPROC_DIR, counted_together

SERVICE = """
import sys
from services.cli.counting import counted_together
with counted_together():
    print("runs", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(MULTIPROC_DIR, raising=False)
    return tmp_path


def start() -> subprocess.Popen[str]:
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert service.stdout is not None and service.stdout.readline() == "runs\n"
    return service


def end(service: subprocess.Popen[str], number: int) -> None:
    service.send_signal(number)
    service.communicate(timeout=60)


def test_the_folder_goes_with_the_service(temporary: Path) -> None:
    with counted_together():
        assert [str(folder) for folder in temporary.iterdir()] == [os.environ[MULTIPROC_DIR]]
    assert list(temporary.iterdir()) == [] and MULTIPROC_DIR not in os.environ


def test_what_a_killed_service_left_is_removed_and_what_lives_stays(temporary: Path) -> None:
    killed, living = start(), start()
    both = set(temporary.iterdir())
    assert len(both) == 2
    end(killed, signal.SIGKILL)
    assert set(temporary.iterdir()) == both
    third = start()
    now = set(temporary.iterdir())
    assert len(now) == 2 and len(now & both) == 1
    end(living, signal.SIGKILL)
    end(third, signal.SIGKILL)


def test_another_folder_that_is_given_is_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROC_DIR, "/elsewhere")
    with counted_together():
        assert list(temporary.iterdir()) == [] and os.environ[MULTIPROC_DIR] == "/elsewhere"
