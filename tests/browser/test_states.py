"""Each state of the page: what it says, and that axe-core finds nothing wrong with it."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.replies import (
    OCEAN,
    ask,
    ask_and_wait,
    begin_reply,
    events,
    expect_state,
    has_sideways_scroll,
    refuse_with,
    reply_with,
    unanswered,
)

OpenPage = Callable[..., Page]

failed_requests_expected = pytest.mark.usefixtures("failed_requests_expected")


def refused(page: Page) -> None:
    refuse_with(page, 429, "overloaded", "ask again after Retry-After", retry_after=12)
    ask(page)
    expect_state(page, "error")


def drawer(name: str) -> Callable[[Page], None]:
    def open_drawer(page: Page) -> None:
        ask_and_wait(page, OCEAN)
        page.get_by_role("button", name=name).click()

    return open_drawer


def evidence(page: Page) -> None:
    ask_and_wait(page, OCEAN)
    page.locator(".cite").first.click()


def no_answer(page: Page) -> None:
    reply_with(page, events(unanswered()))
    ask(page)
    expect_state(page, "unanswered")


def offline(page: Page) -> None:
    expect(page.locator("#corpus")).not_to_be_empty()
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_contain_text("You are offline")


def begun(state: str, count: int) -> Callable[[Page], None]:
    """The first events of an answer; then nothing more comes."""

    def begin(page: Page) -> None:
        begin_reply(page, [("queued", {"ahead": 2}), *events(OCEAN)][:count])
        ask(page)
        expect_state(page, state)

    return begin


STATES: dict[str, Callable[[Page], None]] = {
    "idle": lambda page: None,
    "queued": begun("queued", 1),
    "reading": begun("reading", 2),
    "writing": begun("writing", 9),
    "done": lambda page: ask_and_wait(page, OCEAN),
    "evidence": evidence,
    "unanswered": no_answer,
    "refused": refused,
    "offline": offline,
    "history": drawer("History"),
    "settings": drawer("Settings"),
}


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, as a Python package carries it."""
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    return Path(package.origin).with_name("axe.min.js").read_text()


@failed_requests_expected
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_no_state_is_hard_to_use(
    open_page: OpenPage, axe: str, state: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = open_page(width=width, scheme=scheme, still=True)
    STATES[state](page)
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []
    assert not has_sideways_scroll(page)


class TestWaiting:
    @pytest.mark.parametrize(
        ("ahead", "words"), [(2, "2 ahead of you"), (1, "1 ahead of you"), (0, "You are next")]
    )
    def test_who_waits_in_line_sees_how_many_are_ahead(
        self, page: Page, ahead: int, words: str
    ) -> None:
        begin_reply(page, [("queued", {"ahead": 5}), ("queued", {"ahead": ahead})])
        ask(page)
        expect(page.locator("#progress")).to_have_text(words)
        expect(page.locator("#announcer")).to_have_text(f"{words}.")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()

    def test_the_line_ends_where_the_answer_begins(self, page: Page) -> None:
        reply_with(page, [("queued", {"ahead": 1}), *events(OCEAN)])
        ask(page)
        expect_state(page, "done")

    @failed_requests_expected
    def test_a_server_that_names_a_time_is_asked_again_after_it(self, page: Page) -> None:
        page.clock.install()
        refused(page)
        notice, wait = page.locator("#notice"), page.locator("#notice-wait")
        expect(notice).to_contain_text("The server is busy")
        expect(wait).to_have_text("You can try again in 12 seconds.")
        page.clock.run_for(11_000)
        expect(wait).to_have_text("You can try again in 1 second.")
        page.clock.run_for(1_000)
        expect(wait).to_have_text("You can try again now.")
        reply_with(page, events(OCEAN))
        page.get_by_role("button", name="Try again").click()
        expect_state(page, "done")

    @failed_requests_expected
    def test_a_server_that_still_loads_says_so(self, page: Page) -> None:
        expect(page.locator("#corpus")).not_to_be_empty()
        page.route("**/readyz", lambda route: route.fulfill(status=503, json={}))
        page.evaluate("() => dispatchEvent(new Event('online'))")
        expect(page.locator("#offline")).to_contain_text("still loading its models")


class TestOffline:
    def test_a_browser_without_a_network_says_so_until_it_has_one(self, page: Page) -> None:
        offline(page)
        page.context.set_offline(False)
        expect(page.locator("#offline")).to_be_empty()


def test_passages_that_do_not_answer_are_said_and_shown(page: Page) -> None:
    no_answer(page)
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The passages do not answer this")
    expect(notice).to_contain_text("The passages about Lake do not answer this.")
    expect(page.locator("#answer")).to_be_empty()
    expect(page.get_by_text("Passages found (1)")).to_be_visible()
    expect(page.get_by_role("link", name="Lake")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
