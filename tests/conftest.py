"""What every test may ask for, and the table of absent tools at the end."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tools

# Services are started hundreds of times: their modules are compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = [
    name for name in ("tests.servers", "tests.servers_s3", "tests.archive") if importlib.util.find_spec(name)
]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Find a program by name, or skip the test and list it at the end."""
    return tools.find_tool


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real and hostile DICOM files; where the folder is absent, those that pydicom packages."""
    folder = tools.find_corpus()
    if folder is None:
        tools.report_absent("corpus")
        import pydicom.data

        return Path(pydicom.data.__file__).parent / "test_files"
    return folder


@pytest.fixture(scope="session")
def corpus_files(corpus: Path) -> list[Path]:
    """Every file of the corpus but its manifest, in order."""
    return sorted(p for p in corpus.rglob("*") if p.is_file() and p.name != "MANIFEST.tsv")


_LONG_FIRST = ("faults", "integration", "conformance", "e2e", "contract", "unit")


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return _LONG_FIRST.index(folder) if folder in _LONG_FIRST else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process is left alone with one at the end.

    And mark what walks the corpus, so that `make unit` can do without it.
    """
    items.sort(key=_turn)
    for item in items:
        if {"corpus", "corpus_files"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("corpus")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this one, where there is one, what was absent here."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["absent"] = tools.absent


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Gather what was absent in a process that ran tests."""
    tools.absent.update(getattr(node, "workeroutput", {}).get("absent", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was absent and how to get it."""
    if tools.absent:
        terminalreporter.section("absent tools (GANTRY_TEST_REQUIRE=all makes each a failure)")
        width = max(map(len, tools.absent))
        for name, hint in sorted(tools.absent.items()):
            terminalreporter.line(f"{name:<{width}}  {hint}")
