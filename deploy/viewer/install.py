"""Fetch the OHIF viewer from npm and fit it to be served at ``/viewer/``.

Usage: ``install.py FOLDER``.  Does nothing where FOLDER already holds this version.  Without npm it says in
one line how to add the viewer, and succeeds: the archive works without it.

npm's ``@ohif/app`` carries the built application.  It is built to be served at ``/``; here the public path
is rewritten, its service worker (which caches across versions) is left out, and Gantry's configuration
takes the place of its own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@ohif/app@3.12.0"
SHA256 = "88a34cd3b0594dbe394533a2d546fbaaecb88419c3bd6b0d58d7802be2248798"
PUBLIC_PATH = "/viewer/"
CONFIGURATION = Path(__file__).with_name("app-config.js")
DROPPED = ("sw.js", "init-service-worker.js", "_headers", "_redirects", "serve.json", "google.js")


def main(folder: Path) -> int:
    """Install the viewer into `folder`; gives the exit code."""
    stamp = folder / "gantry-version"
    version = f"{PACKAGE} {SHA256} {hashlib.sha256(CONFIGURATION.read_bytes()).hexdigest()}\n"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == version:
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print(f"no viewer: install npm and run `make viewer` to add {PACKAGE}")
        return 0
    print(f"fetching the viewer {PACKAGE}")
    with tempfile.TemporaryDirectory() as scratch:
        archive = fetch(npm, Path(scratch))
        if archive is None:
            return 0
        with tarfile.open(archive) as tar:
            # Its digest is pinned; the filter is a second lock, which Python has from 3.11.4 on.
            tar.extractall(scratch, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        built = Path(scratch) / "package" / "dist"
        rewrite(built)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built, folder)
        stamp.write_text(version, encoding="ascii")
    return 0


def fetch(npm: str, scratch: Path) -> Path | None:
    """The package's archive, or None (and a line that says so) where npm cannot bring it.

    Raises:
        SystemExit: what npm brought is not the pinned file.
    """
    done = subprocess.run(
        [npm, "pack", "--silent", PACKAGE], cwd=scratch, capture_output=True, text=True, check=False
    )
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode or not archives:
        print(f"no viewer: npm could not fetch {PACKAGE}; run `make viewer` to try again")
        return None
    found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{PACKAGE} has the SHA-256 {found}, not {SHA256}: not installed")
    return archives[0]


def rewrite(built: Path) -> None:
    """Move the application from ``/`` to `PUBLIC_PATH` and give it Gantry's configuration.

    Raises:
        SystemExit: the application is not built as this expects, so that it could not start.
    """
    for name in DROPPED:
        (built / name).unlink(missing_ok=True)
    index = built / "index.html"
    page = index.read_text(encoding="utf-8")
    page = re.sub(r'<script[^>]*src="/init-service-worker\.js"[^>]*></script>', "", page)
    page = re.sub(r'\b(href|src|content)="/(?!/)', rf'\1="{PUBLIC_PATH}', page)
    page, moved_page = re.subn(r"window\.PUBLIC_URL = '/'", f"window.PUBLIC_URL = '{PUBLIC_PATH}'", page)
    index.write_text(page, encoding="utf-8")
    moved_scripts = 0
    for script in built.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        changed, count = re.subn(
            r'__webpack_require__\.p = "/"', f'__webpack_require__.p = "{PUBLIC_PATH}"', text
        )
        moved_scripts += count
        if changed != text:
            script.write_text(changed, encoding="utf-8")
    for sheet in built.glob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        sheet.write_text(re.sub(r"url\((['\"]?)/(?!/)", rf"url(\1{PUBLIC_PATH}", text), encoding="utf-8")
    manifest = built / "manifest.json"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace('"/', f'"{PUBLIC_PATH}'), encoding="utf-8"
    )
    if not moved_page or not moved_scripts:
        raise SystemExit(f"{PACKAGE} is not built as expected: its public path was not found")
    shutil.copyfile(CONFIGURATION, built / "app-config.js")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
