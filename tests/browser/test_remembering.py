"""What the browser remembers: settings, sent with the next question, and answers, never sent."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Watch
from tests.browser.replies import OCEAN, ask, events, expect_state, has_sideways_scroll, stream

OpenPage = Callable[..., Page]


@pytest.fixture
def sent(page: Page) -> list[dict[str, Any]]:
    """The bodies that went to the server, which answers each question with the same words."""
    bodies: list[dict[str, Any]] = []

    def reply(route: Route) -> None:
        bodies.append(json.loads(route.request.post_data or ""))
        answer = replace(OCEAN, question=bodies[-1]["question"])
        route.fulfill(content_type="text/event-stream", body=stream(events(answer)))

    page.route("**/answer", reply)
    return bodies


def ask_all(page: Page, *questions: str) -> None:
    for question in questions:
        ask(page, question)
        expect(page.locator("#asked")).to_have_text(question)
        expect_state(page, "done")


def open_history(page: Page) -> None:
    page.get_by_role("button", name="History").click()


class TestSettings:
    def test_they_go_with_the_next_question_and_survive_a_reload(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "First?")
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("radio", name="Extractive").check()
        page.get_by_role("radio", name="Long").check()
        page.get_by_role("radio", name="By words").check()
        page.get_by_role("slider", name="Passages to read").fill("12")
        expect(page.locator("#k-value")).to_have_text("12")
        page.reload()
        ask_all(page, "Second?")
        before = {"mode": "grounded", "k": 8, "max_tokens": 256, "retrieval": None}
        chosen = {"mode": "extractive", "k": 12, "max_tokens": 512, "retrieval": "bm25"}
        assert [{**body, "question": None} for body in sent] == [
            {"question": None, **before, "stream": True},
            {"question": None, **chosen, "stream": True},
        ]

    def test_a_server_that_asks_for_a_key_gets_the_one_that_is_entered(
        self, page: Page, watch: Watch
    ) -> None:
        watch.failed_requests_expected = True
        keys: list[str | None] = []

        def reply(route: Route) -> None:
            keys.append(route.request.headers.get("authorization"))
            if keys[-1] == "Bearer 0123456789abcdef":
                route.fulfill(content_type="text/event-stream", body=stream(events(OCEAN)))
            else:
                error = {"code": "api_key_missing", "message": "no key", "details": []}
                route.fulfill(status=401, json={"error": error})

        page.route("**/answer", reply)
        ask(page)
        expect(page.locator("#notice")).to_contain_text("The server asks for a key")
        expect(page.get_by_label("Key", exact=False)).to_be_focused()
        page.keyboard.type("0123456789abcdef")
        page.keyboard.press("Enter")
        expect(page.locator("#settings")).to_be_hidden()
        page.get_by_role("button", name="Try again").click()
        expect_state(page, "done")
        page.reload()
        ask_all(page, OCEAN.question)
        assert keys == [None, *["Bearer 0123456789abcdef"] * 2]
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("button", name="Back to the defaults").click()
        assert page.evaluate("localStorage.getItem('rag-rt-key')") is None

    def test_the_defaults_come_back(self, page: Page, sent: list[dict[str, Any]]) -> None:
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("radio", name="Free").check()
        page.get_by_role("button", name="Back to the defaults").click()
        expect(page.get_by_role("radio", name="Grounded")).to_be_checked()
        page.keyboard.press("Escape")
        ask_all(page, "Why?")
        assert sent[0]["mode"] == "grounded"

    @pytest.mark.parametrize(
        "stored", ["", "{", "null", "[1]", '{"k": 1e9, "mode": "x", "max_tokens": "y"}']
    )
    def test_what_cannot_be_chosen_is_not_sent(
        self, page: Page, sent: list[dict[str, Any]], stored: str
    ) -> None:
        page.evaluate("(stored) => localStorage.setItem('rag-rt-settings', stored)", stored)
        page.reload()
        ask_all(page, "Why?")
        assert (sent[0]["mode"], sent[0]["k"], sent[0]["max_tokens"]) == ("grounded", 8, 256)

    def test_escape_closes_the_drawer_alone_and_gives_the_focus_back(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "Why?")
        page.locator(".cite").first.click()
        opener = page.get_by_role("button", name="Settings")
        opener.click()
        expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Settings")).to_be_hidden()
        expect(opener).to_be_focused()
        expect(page.locator("#evidence")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#evidence")).to_be_hidden()


class TestHistory:
    def test_an_answer_comes_back_after_a_reload_without_being_asked_for(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "First?", "<b>Second</b>?")
        page.reload()
        open_history(page)
        expect(page.locator("#history-list span")).to_have_text(["<b>Second</b>?", "First?"])
        page.get_by_role("button", name="First?").click()
        expect_state(page, "done")
        expect(page.get_by_role("heading", level=1)).to_have_text("First?")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(page.locator(".sentence")).to_have_count(3)
        page.locator(".cite").first.click()
        expect(page.locator("#evidence mark")).to_have_text("Rivers carry minerals to the sea.")
        assert len(sent) == 2

    def test_nothing_of_it_is_ever_sent(self, page: Page, sent: list[dict[str, Any]]) -> None:
        ask_all(page, "A secret?", "Another?")
        assert "secret" not in json.dumps(sent[1])
        assert page.context.cookies() == []

    def test_it_is_bounded_and_keeps_the_newest(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "Old?")
        page.evaluate("""() => {
            const [entry] = JSON.parse(localStorage.getItem("rag-rt-history"));
            const copies = Array.from({ length: 40 }, (_, i) =>
                ({ ...entry, answer: { ...entry.answer, question: `Copy ${i}?` } }));
            localStorage.setItem("rag-rt-history", JSON.stringify(copies));
        }""")
        ask_all(page, "New?")
        open_history(page)
        expect(page.locator("#history-list li")).to_have_count(30)
        expect(page.locator("#history-list span").first).to_have_text("New?")

    def test_a_full_store_makes_room_for_the_newest(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "Old?")
        page.evaluate("""() => {
            const [entry] = JSON.parse(localStorage.getItem("rag-rt-history"));
            entry.answer.padding = "x".repeat(2e6);
            localStorage.setItem("rag-rt-history", JSON.stringify([entry]));
            let filled = 0;
            for (let step = 2 ** 22; step > 500; step /= 2) {
                try {
                    localStorage.setItem("other", "x".repeat(filled + step));
                    filled += step;
                } catch {}
            }
        }""")
        ask_all(page, "New?")
        open_history(page)
        expect(page.locator("#history-list span")).to_have_text(["New?"])

    def test_it_can_be_cleared(self, page: Page, sent: list[dict[str, Any]]) -> None:
        ask_all(page, "First?")
        open_history(page)
        page.get_by_role("button", name="Clear the history").click()
        expect(page.get_by_text("Nothing has been asked here yet.")).to_be_visible()
        assert page.evaluate("() => localStorage.getItem('rag-rt-history')") is None

    def test_a_question_asked_again_is_there_once(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        ask_all(page, "First?", "Second?", "First?")
        open_history(page)
        expect(page.locator("#history-list span")).to_have_text(["First?", "Second?"])

    def test_a_page_that_may_store_nothing_still_answers(
        self, page: Page, sent: list[dict[str, Any]]
    ) -> None:
        page.add_init_script("""Object.defineProperty(window, "localStorage", {
            get() { throw new DOMException("no", "SecurityError"); } })""")
        page.reload()
        ask_all(page, "Why?")
        open_history(page)
        expect(page.get_by_text("Nothing has been asked here yet.")).to_be_visible()

    def test_long_questions_fit_a_phone(self, page: Page, sent: list[dict[str, Any]]) -> None:
        page.set_viewport_size({"width": 360, "height": 700})
        ask_all(page, "Q" * 500)
        open_history(page)
        assert not has_sideways_scroll(page)
        drawer = page.locator("#history")
        assert drawer.evaluate("(node) => node.scrollWidth <= node.clientWidth")
