"""A real browser for tests of pages: `browser.open(address)` gives a page in headless Chromium and what it did.

Chromium is the machine's own, driven by Playwright; nothing is downloaded. It finds no host but this machine, so a page that
asks for something elsewhere is seen to fail and can be told by `elsewhere`.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pytest

from tests import services

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
HERE = ("127.0.0.1", "localhost")
_ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND" + "".join(f", EXCLUDE {host}" for host in HERE)
_WAIT_MS = 60_000  # a busy machine is slow


@dataclass(slots=True, kw_only=True)
class Visit:
    """An open page; `requests` are all addresses it asked for, in order, `errors` what a reader of its console sees in red."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> list[str]:
        """Give the requests that leave this machine: a page that stands alone has none."""
        return [each for each in self.requests if (urlsplit(each).hostname or HERE[0]) not in HERE]

    def wait(self, expression: str) -> None:
        """Wait until an expression of the page's script is true.

        It is put into a function: a page's policy may forbid to evaluate text, which asking again for an expression would be.
        """
        self.page.wait_for_function(f"() => ({expression})")

    def colours(self, scheme: Literal["light", "dark"]) -> None:
        """Let the reader prefer light or dark pages."""
        self.page.emulate_media(color_scheme=scheme)

    def resize(self, width: int, height: int) -> None:
        """Set the window's size in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, path: Path, *, whole: bool = True) -> Path:
        """Write a PNG of the whole page, or of what the window shows."""
        self.page.screenshot(path=path, full_page=whole, animations="disabled")
        return path


class Browser:
    """Opens pages, each apart from the others: no cookies, no cache, no storage of another page."""

    def __init__(self, chromium: "Chromium", stack: ExitStack) -> None:
        """Close the pages with the stack."""
        self._chromium = chromium
        self._stack = stack

    def open(
        self, address: str | Path, *, width: int = 1280, height: int = 800, scheme: Literal["light", "dark"] = "light"
    ) -> Visit:
        """Open a page by its URL or file, and wait until it is loaded."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
        )
        self._stack.callback(context.close)
        context.set_default_timeout(_WAIT_MS)
        visit = Visit(page=context.new_page())
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on("websocket", lambda socket: visit.requests.append(socket.url))
        visit.page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        return visit


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Chromium]":
    """Give the file's Chromium. While it is open, asyncio.run() does not work in this thread: the driver has a loop there."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        services.missing("browser", "none of " + ", ".join(PROGRAMS))
    if find_spec("playwright") is None:
        services.missing("browser", "no playwright: pip install 'edgewatch[test]'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=[_ONLY_HERE], timeout=_WAIT_MS)
        yield started
        started.close()


@pytest.fixture
def browser(chromium: "Chromium") -> Iterator[Browser]:
    """Give a browser; what it opened is closed with the test."""
    with ExitStack() as stack:
        yield Browser(chromium, stack)
