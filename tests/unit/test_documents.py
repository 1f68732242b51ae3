"""The documents say what the code does: tables are fresh, links lead somewhere, names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_group

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
SETTING = re.compile(r"GANTRY_[A-Z][A-Z0-9]*(?:__?[A-Z0-9]+)*(?![A-Z0-9_])")

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TEST_FILE = re.compile(r"\btest_\w+\.py\b")
_MODULE = re.compile(r"`((?:services|tests|deploy|docs)/[\w./-]+)`")
_COMMAND = re.compile(r"\bgantry ([a-z]+)(?: (list|add|remove|echo|show|retry))?\b")
_MAKE = re.compile(r"`make ([a-z]+)`|^ *make ([a-z]+)", re.MULTILINE)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def test_generated_tables_are_what_the_code_says() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_page
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in _LINK.findall(page.read_text("utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name for name in _TEST_FILE.findall(text) if name not in tests] == []
    assert [path for path in _MODULE.findall(text) if not (ROOT / path).exists()] == []


@each_page
def test_settings_that_are_named_exist(page: Path) -> None:
    sources = [
        DOCS / "generate" / "settings.py",
        ROOT / "tests" / "tools.py",
        ROOT / "tests" / "servers_s3.py",
    ]
    known = {name for source in sources for name in SETTING.findall(source.read_text("utf-8"))}
    known.add("GANTRY_TEST_MINIO")  # as any tool's, made of its name
    named = set(SETTING.findall(page.read_text("utf-8")))
    assert sorted(named - known) == []


@each_page
def test_commands_that_are_named_exist(page: Path) -> None:
    from services.cli import app

    commands = get_group(app).commands
    for name, below in _COMMAND.findall(page.read_text("utf-8")):
        assert name in commands, name
        if below:
            assert below in getattr(commands[name], "commands", ()), f"{name} {below}"


@each_page
def test_targets_of_make_that_are_named_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {one or other for one, other in _MAKE.findall(page.read_text("utf-8"))}
    assert named <= known


def test_decisions_have_numbers_of_their_own_and_stand_in_the_index() -> None:
    decisions = sorted(path.name for path in (DOCS / "adr").glob("[0-9]*.md"))
    numbers = [name[:4] for name in decisions]
    index = (DOCS / "adr" / "README.md").read_text("utf-8")
    assert numbers == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    assert [name for name in decisions if f"]({name})" not in index] == []
    for name in decisions:
        title = (DOCS / "adr" / name).read_text("utf-8").splitlines()[0]
        assert title.startswith(f"# {int(name[:4])}. "), name
