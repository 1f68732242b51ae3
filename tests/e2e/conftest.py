"""A browser for the tests: Debian's Chromium, headless, without a GPU and without the internet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_PATIENCE_MS = 90_000
_NO_PICTURE = "status of 406"
"""What a browser says where a thumbnail cannot be: it is so answered, and shown as the modality."""


class Watched:
    """A page, and whatever it complained of or asked of another host."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and _NO_PICTURE not in message.text:
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        host = urlsplit(request.url).hostname
        if host not in (None, "", "127.0.0.1"):
            self.complaints.append(f"asked {host}")


@pytest.fixture(scope="module")
def browser(tool: Callable[[str], Path]) -> Iterator[Browser]:
    """One browser for the tests of a module.

    No longer: while it runs, its driver keeps an event loop in this thread, which other tests need.
    """
    chromium = tool("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(_ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of its own, in light colours; fails the test where the page complained of anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 820}, color_scheme="light")
    context.set_default_timeout(_PATIENCE_MS)
    expect.set_options(timeout=_PATIENCE_MS)
    page = Watched(context.new_page())
    yield page
    context.close()
    assert page.complaints == []
