"""Chromium for the page's tests, and a watch that lets nothing untoward pass unseen."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)

LAUNCH_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`))"""
# what Chromium itself logs for a reply that a test has made fail
FAILED_REQUEST = "Failed to load resource"


@dataclass
class Watch:
    """What a page did that no page may do."""

    origin: str
    failed_requests_expected: bool = False
    found: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        expected = self.failed_requests_expected and message.text.startswith(FAILED_REQUEST)
        if message.type in ("error", "warning") and not expected:
            self.found.append(f"console {message.type}: {message.text}")

    def error(self, error: object) -> None:
        self.found.append(f"uncaught: {error}")

    def request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https") and f"{url.scheme}://{url.netloc}" != self.origin:
            self.found.append(f"request to another origin: {request.url}")

    def over(self, page: Page) -> None:
        page.on("console", self.console)
        page.on("pageerror", self.error)
        page.on("request", self.request)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the session: while playwright runs, asyncio.run fails in other tests."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the program 'chromium' on the PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=LAUNCH_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def watch(server_url: str) -> Watch:
    """What the pages of a test do."""
    return Watch(origin=server_url.rstrip("/"))


@pytest.fixture
def failed_requests_expected(watch: Watch) -> None:
    """For a test that makes a request fail."""
    watch.failed_requests_expected = True


@pytest.fixture
def open_page(browser: Browser, server_url: str, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Open the page of the server: `open_page(path="/", width=1280, scheme="light")`."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: str = "/",
        *,
        width: int = 1280,
        scheme: Literal["light", "dark"] = "light",
        still: bool = False,
    ) -> Page:
        context = browser.new_context(
            base_url=server_url,
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            reduced_motion="reduce" if still else "no-preference",
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        context.add_init_script(REPORT_VIOLATIONS)
        page = context.new_page()
        watch.over(page)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watch.found == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The page on a wide, light screen."""
    return open_page()
