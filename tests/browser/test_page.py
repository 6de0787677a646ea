"""The page in a real browser, before the real server; replies are faked only to cause failures.

Faked answers are made of the server's own types and Python's own string indices, so that a page
that counts characters otherwise than the server shows the wrong words.
"""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from rag_rt.answers import (
    Status,
)
from retriever import Passage
from tests.browser.replies import (
    LAKE,
    OCEAN,
    RIVERS,
    SALT,
    WIKIPEDIA,
    answered,
    ask,
    ask_and_wait,
    click_first_word,
    done_event,
    events,
    expect_state,
    first_word,
    passage,
    quoting,
    refuse_with,
    reply_in_parts,
    reply_with,
    stream,
    whole,
    words_of,
)

OpenPage = Callable[..., Page]

failed_requests_expected = pytest.mark.usefixtures("failed_requests_expected")

WRITING_LIMIT = 180_000  # ms; a real answer takes 5 to 10 s, many times that on a crowded machine
# a copy of the real reply for the test, while the page reads it as it comes
KEEP_REPLY = """() => {
    const fetch = window.fetch;
    window.fetch = async (...request) => {
        const reply = await fetch(...request);
        window.reply = reply.clone().text();
        return reply;
    };
}"""
# the lengths of the paragraph while it is written, which may be over before a test looks
KEEP_LENGTHS = """() => {
    window.lengths = new Set();
    const text = document.getElementById("answer");
    new MutationObserver(() => {
        if (document.body.dataset.state === "writing") window.lengths.add(text.textContent.length);
    }).observe(text, { childList: true, subtree: true, characterData: true });
}"""
# the events of a stream that arrives in pieces of `size` bytes
READ_IN_PIECES = """async ([text, size]) => {
    const { ask } = await import("/static/stream.js");
    const bytes = new TextEncoder().encode(text);
    const start = (stream) => {
        for (let i = 0; i < bytes.length; i += size) stream.enqueue(bytes.slice(i, i + size));
        stream.close();
    };
    window.fetch = async () => new Response(new ReadableStream({ start }));
    const read = [];
    for await (const event of ask("?", {}, "", new AbortController().signal)) read.push(event);
    return read.map(({ event, data }) => [event, data]);
}"""


class TestRealAnswers:
    def test_an_example_is_answered_as_it_is_written_and_every_sentence_shows_its_evidence(
        self, page: Page
    ) -> None:
        page.evaluate(KEEP_REPLY)
        page.evaluate(KEEP_LENGTHS)
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("radio", name="Free").check()  # the mode that tells every token
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Why is the ocean salty?").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Why is the ocean salty?")
        expect_state(page, "done", WRITING_LIMIT)
        assert page.evaluate("() => window.lengths.size") >= 3

        answer = done_event(page.evaluate("() => window.reply"))
        shown = page.locator(".sentence")
        expect(shown).to_have_count(len(answer["sentences"]))
        assert any(s["support"] == "supported" for s in answer["sentences"])
        for i, sentence in enumerate(answer["sentences"]):
            words = answer["text"][sentence["start"] : sentence["end"]]
            assert words_of(shown.nth(i)) == (f"“{words}”" if sentence["quotation"] else words)
            click_first_word(page, shown.nth(i))
            expect(page.locator("#evidence-title")).to_have_text(f"Evidence for sentence {i + 1}")
            marked = "".join(page.locator("#evidence mark").all_text_contents())
            for evidence in sentence["evidence"]:
                assert evidence["quote"] in marked
            if sentence["support"] == "unsupported":
                assert marked == ""
                expect(page.locator("#evidence")).to_contain_text("No support found")
        expect(page.locator("#took")).to_have_text(re.compile(r"took [\d.]+ s: .* to search"))

    @failed_requests_expected
    def test_stop_ends_the_writing_and_keeps_what_was_written(self, page: Page) -> None:
        ask(page, "How do glaciers move?")  # asked nowhere else: the server keeps its answers
        expect_state(page, "writing", WRITING_LIMIT)
        page.get_by_role("button", name="Stop").click()
        expect_state(page, "stopped")
        written = page.locator("#answer").text_content()
        assert written
        expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.wait_for_timeout(500)
        assert page.locator("#answer").text_content() == written

    def test_the_foot_tells_what_the_server_reads(self, page: Page, server_url: str) -> None:
        health = page.request.get("/readyz").json()
        corpus = page.locator("#corpus")
        expect(corpus).to_contain_text(f"{health['index']['passages']:,} passages")
        for fact in (health["generator"], health["encoder"], health["version"]):
            expect(corpus).to_contain_text(fact)


class TestQuestion:
    @pytest.fixture
    def asked(self, page: Page) -> list[str]:
        """The bodies that went to the server."""
        bodies: list[str] = []

        def keep(route: Route) -> None:
            bodies.append(route.request.post_data or "")
            route.fulfill(content_type="text/event-stream", body=stream(events(OCEAN)))

        page.route("**/answer", keep)
        return bodies

    @pytest.mark.parametrize("question", ["", "  \n "])
    def test_an_empty_question_stays_on_the_page(
        self, page: Page, asked: list[str], question: str
    ) -> None:
        ask(page, question)
        expect(page.get_by_role("alert")).to_have_text("Please write a question first.")
        expect(page.get_by_label("Your question")).to_be_focused()
        expect(page.get_by_label("Your question")).to_have_attribute("aria-invalid", "true")
        expect_state(page, "idle")
        assert asked == []

    def test_a_question_is_counted_in_characters_near_the_limit(
        self, page: Page, asked: list[str]
    ) -> None:
        box, counter = page.get_by_label("Your question"), page.locator("#counter")
        box.fill("a" * 1000)
        expect(counter).to_be_empty()
        box.fill("🌊" * 2000)
        expect(counter).to_have_text("2,000 of 2,000 characters")
        box.fill("🌊" * 2001)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("shorten the question")
        assert asked == []
        box.fill("🌊" * 2000)
        page.keyboard.press("Enter")
        expect_state(page, "done")
        assert json.loads(asked[0])["question"] == "🌊" * 2000

    def test_shift_and_enter_start_a_new_line(self, page: Page, asked: list[str]) -> None:
        page.get_by_label("Your question").fill("Why?")
        page.keyboard.press("Shift+Enter")
        expect(page.get_by_label("Your question")).to_have_value("Why?\n")
        assert asked == []

    def test_the_question_of_the_address_waits_in_the_box(
        self, open_page: OpenPage, asked: list[str]
    ) -> None:
        page = open_page("/?q=What+is+%3Cb%3Eiron%3C%2Fb%3E%3F")
        expect(page.get_by_label("Your question")).to_have_value("What is <b>iron</b>?")
        expect_state(page, "idle")
        assert asked == []

    def test_a_question_asked_is_in_the_address(self, page: Page, asked: list[str]) -> None:
        ask(page, "Salt & water?")
        expect_state(page, "done")
        assert page.url.endswith("/?q=Salt+%26+water%3F")


class TestEvidence:
    def test_a_mouse_that_rests_on_a_sentence_shows_its_evidence_until_one_is_chosen(
        self, page: Page
    ) -> None:
        ask_and_wait(page, OCEAN)
        title = page.locator("#evidence-title")
        first, second, third = page.locator(".sentence").all()
        page.mouse.move(*first_word(second))
        expect(title).to_have_text("Evidence for sentence 2")
        expect(page.locator("#evidence-support")).to_have_text("Supported")
        expect(title).not_to_be_focused()
        page.mouse.move(*first_word(third))
        expect(page.locator("#evidence-support")).to_have_text("No support")
        click_first_word(page, second)
        expect(title).to_be_focused()
        page.mouse.move(*first_word(first))
        page.wait_for_timeout(300)
        expect(title).to_have_text("Evidence for sentence 2")

    def test_a_tap_on_a_phone_shows_the_evidence(self, open_page: OpenPage) -> None:
        page = open_page(width=360)
        ask_and_wait(page, OCEAN)
        page.locator(".cite").first.focus()
        expect(page.locator("#evidence")).to_be_hidden()  # it would cover what is being read
        click_first_word(page, page.locator(".sentence").first)
        expect(page.locator("#evidence")).to_be_in_viewport()

    def test_numbers_follow_the_order_of_first_citation(self, page: Page) -> None:
        ask_and_wait(page, OCEAN)
        assert page.locator(".cite").all_text_contents() == ["[1]", "[1][2]", "no support"]
        assert page.locator("#cited .title a").all_text_contents() == ["River", "Salt"]
        expect(page.locator("#others")).not_to_have_attribute("open", "")
        expect(page.get_by_text("Also retrieved (1)")).to_be_visible()
        assert page.locator("#uncited .title a").all_text_contents() == ["Lake"]

    def test_a_sentence_opens_its_passages_with_the_quotes_marked(self, page: Page) -> None:
        ask_and_wait(page, OCEAN)
        click_first_word(page, page.locator(".sentence").nth(1))
        panel = page.locator("#evidence")
        marks = panel.locator("mark").all_text_contents()
        assert marks == ["minerals to the sea", "The ocean holds most of it."]
        assert panel.locator(".passage").all_text_contents() == [RIVERS.text, SALT.text]
        expect(panel).to_contain_text("Support 0.87")
        link = panel.get_by_role("link", name="River")
        expect(link).to_have_attribute("href", RIVERS.url)
        expect(link).to_have_attribute("target", "_blank")
        expect(link).to_have_attribute("rel", re.compile("noopener"))

    def test_an_unsupported_sentence_is_marked_by_more_than_colour(self, page: Page) -> None:
        ask_and_wait(page, OCEAN)
        line = "(node) => getComputedStyle(node).textDecorationStyle"
        supported, _, unsupported = page.locator(".sentence").all()
        assert (supported.evaluate(line), unsupported.evaluate(line)) == ("solid", "dotted")
        button = unsupported.get_by_role("button")
        expect(button).to_have_text("no support")
        expect(button).to_have_accessible_name("no support found in the retrieved passages")
        button.click()
        expect(page.locator("#evidence")).to_contain_text(
            "No support found in the retrieved passages."
        )
        expect(page.locator("#summary")).to_contain_text("2 of 3 sentences rest on the sources")

    @pytest.mark.parametrize("before", ["🧂🌊", "👩🏽‍🔬 ", "e\u0301 \ufeff𝔖 "])
    def test_offsets_count_characters_as_the_server_does(self, page: Page, before: str) -> None:
        source = passage("Emoji", f"{before}Salt 🧂 is a mineral.{before}")
        first, second = f"{before}It is 🧂.", f"A mineral{before}, too."
        evidence = quoting(source, "Salt 🧂 is")
        ask_and_wait(page, answered([source], (first, [evidence]), (second, [evidence])))
        assert [words_of(s) for s in page.locator(".sentence").all()] == [first, second]
        page.locator(".sentence").nth(1).get_by_role("button").click()
        expect(page.locator("#evidence mark")).to_have_text("Salt 🧂 is")

    def test_markup_in_a_passage_and_an_answer_is_shown_and_does_nothing(self, page: Page) -> None:
        markup = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
        source = Passage("p", "p", markup, f"Before {markup} after", WIKIPEDIA, 0, 9)
        ask_and_wait(page, answered([source], (f"It says {markup}.", [quoting(source, markup)])))
        page.locator(".sentence").get_by_role("button").click()
        expect(page.locator("#evidence mark")).to_have_text(markup)
        assert words_of(page.locator(".sentence")) == f"It says {markup}."
        expect(page.locator("#result :is(script, img)")).to_have_count(0)
        assert page.evaluate("() => window.broken") is None

    @pytest.mark.parametrize(
        "url", ["javascript:alert(1)", " JAVASCRIPT:alert(1)", "data:text/html,x", "/relative", ""]
    )
    def test_only_web_addresses_become_links(self, page: Page, url: str) -> None:
        source = passage("Trap", "Words to rest on.", url)
        ask_and_wait(page, answered([source], ("Words.", [quoting(source, "Words")])))
        page.locator(".sentence").get_by_role("button").click()
        expect(page.locator("#evidence h3")).to_contain_text("Trap")
        expect(page.locator("#result a")).to_have_count(0)


class TestFailures:
    def test_a_question_that_the_corpus_says_nothing_about_gets_a_calm_notice(
        self, page: Page
    ) -> None:
        nothing = whole(Status.NOT_FOUND, "The corpus says nothing about this.", [LAKE])
        reply_with(page, events(nothing))
        ask(page)
        expect_state(page, "not_found")
        expect(page.locator("#notice")).to_contain_text("The corpus says nothing about this.")
        expect(page.locator("#answer")).to_be_empty()
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        expect(page.get_by_text("Passages found (1)")).to_be_visible()

    @failed_requests_expected
    def test_a_busy_server_is_told_and_can_be_tried_again(self, page: Page) -> None:
        refuse_with(page, 429, "overloaded", "16 answers wait already")
        ask(page)
        expect_state(page, "error")
        notice = page.locator("#notice")
        expect(notice).to_contain_text("The server is busy")
        expect(notice).to_contain_text("More questions are waiting than it can take.")
        expect(page.locator("#notice-wait")).to_be_empty()  # this one names no time
        reply_with(page, events(OCEAN))
        page.get_by_role("button", name="Try again").click()
        expect_state(page, "done")
        expect(notice).to_be_hidden()

    @failed_requests_expected
    def test_a_question_that_the_server_refuses_is_explained(self, page: Page) -> None:
        ask(page, "?!")  # neither letter nor digit: the real server refuses it
        expect_state(page, "error")
        expect(page.locator("#notice")).to_contain_text("The question was not accepted")
        expect(page.locator("#notice-text")).not_to_be_empty()

    @failed_requests_expected
    def test_details_of_an_error_are_listed_as_text(self, page: Page) -> None:
        detail = {"field": "question", "message": "<i>too odd</i>"}
        refuse_with(page, 422, "invalid_request", "The request is not valid.", detail)
        ask(page)
        expect(page.locator("#notice li")).to_have_text("question: <i>too odd</i>")

    @failed_requests_expected
    def test_an_error_that_is_no_json_still_gets_words(self, page: Page) -> None:
        page.route("**/answer", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"))
        ask(page)
        expect(page.locator("#notice")).to_contain_text("It replied with status 502")

    def test_an_error_in_the_middle_of_an_answer_keeps_what_was_written(self, page: Page) -> None:
        error = {"error": {"code": "internal", "message": "The model failed.", "details": []}}
        reply_with(page, [*events(OCEAN)[:6], ("error", error)])
        ask(page)
        expect_state(page, "error")
        expect(page.locator("#notice")).to_contain_text("The model failed.")
        expect(page.locator("#answer")).to_have_text("Rivers bring mi")

    def test_a_lost_connection_is_told_and_what_arrived_is_kept(self, page: Page) -> None:
        reply_with(page, events(OCEAN)[:-1])
        ask(page)
        expect_state(page, "error")
        expect(page.locator("#notice")).to_contain_text("The connection was lost")
        expect(page.locator(".sentence")).to_have_count(3)

    def test_a_lost_connection_is_taken_up_where_it_broke(self, page: Page) -> None:
        asked = reply_in_parts(page, events(OCEAN), [3, 9])
        ask(page)
        expect_state(page, "done")
        written = [OCEAN.text[s.start : s.end] for s in OCEAN.sentences]
        expect(page.locator(".sentence")).to_contain_text(written)
        assert asked == ["", "a1.3", "a1.9"]

    @failed_requests_expected
    def test_a_server_that_is_gone_is_told(self, page: Page) -> None:
        expect(page.locator("#corpus")).not_to_be_empty()
        page.clock.install()
        page.route(re.compile("/(answer|readyz)$"), lambda route: route.abort())
        ask(page)
        expect_state(page, "error")
        expect(page.locator("#notice")).to_contain_text("The server cannot be reached")
        offline = page.locator("#offline")
        expect(offline).to_contain_text("keeps trying")
        page.unroute_all()
        page.clock.fast_forward(5_000)
        expect(offline).to_be_empty()

    def test_a_question_that_waits_in_line_says_so(self, page: Page) -> None:
        page.clock.install()
        page.route("**/answer", lambda route: None)
        ask(page)
        progress = page.locator("#progress")
        expect(progress).to_have_text("Searching for passages")
        page.clock.fast_forward(5_000)
        expect(progress).to_have_text(re.compile("Waiting for the server"))
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#notice")).to_contain_text("Nothing had been written yet.")

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("size", [1, 7])
    def test_events_are_read_wherever_the_network_cuts_them(
        self, page: Page, newline: str, size: int
    ) -> None:
        sent = events(answered([SALT], ("Salt 🧂 is a é.", [quoting(SALT, "Salt")])))
        read = page.evaluate(
            READ_IN_PIECES,
            [stream(sent, newline), size],
        )
        assert read == json.loads(json.dumps(sent))
