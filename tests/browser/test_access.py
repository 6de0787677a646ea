"""The page for the keyboard, for screen readers, for phones and for the night."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.replies import (
    OCEAN,
    RIVERS,
    SALT,
    answered,
    ask,
    ask_and_wait,
    click_first_word,
    events,
    expect_state,
    has_sideways_scroll,
    passage,
    quoting,
    reply_with,
)

OpenPage = Callable[..., Page]


class TestKeyboardAndScreenReader:
    def test_everything_can_be_done_from_the_keyboard(self, page: Page) -> None:
        reply_with(page, events(OCEAN))
        expect(page.get_by_label("Your question")).to_be_focused()
        page.keyboard.type("Why is the ocean salty?")
        page.keyboard.press("Enter")
        expect_state(page, "done")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
        page.keyboard.press("Tab")
        citation = page.locator(".cite").first
        expect(citation).to_be_focused()
        expect(citation).to_have_attribute("aria-expanded", "true")
        expect(page.locator("#evidence mark")).to_have_text("Rivers carry minerals to the sea.")
        page.keyboard.press("Enter")
        expect(page.locator("#evidence-title")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Close the evidence")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.locator("#evidence").get_by_role("link", name="River")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#evidence")).to_be_hidden()
        expect(citation).to_be_focused()

    def test_the_focus_moves_on_from_a_button_that_goes(self, page: Page) -> None:
        reply_with(page, events(OCEAN))
        page.get_by_role("button", name="How do vaccines work?").press("Enter")
        expect_state(page, "done")
        expect(page.get_by_role("heading", level=1)).to_be_focused()

    def test_the_finished_answer_is_read_out_once(self, page: Page) -> None:
        expect(page.locator("[aria-live]")).to_have_count(0)
        region = page.locator("#announcer")
        expect(region).to_have_attribute("role", "status")
        ask_and_wait(page, OCEAN)
        expect(region).to_contain_text(
            "The answer is finished. Rivers bring minerals. The ocean keeps the salt they bring. "
            "Whales drink it. (no support found)"
        )


class TestLooks:
    def test_a_phone_never_scrolls_sideways(self, open_page: OpenPage) -> None:
        page = open_page(width=360)
        assert not has_sideways_scroll(page)
        long = passage("L" * 80, "Donaudampfschifffahrtsgesellschaft" * 9)
        evidence = quoting(long, long.text[30:300])
        answer = answered([long, SALT], ("W" * 300, [evidence]), ("No " + "w" * 24, []))
        reply_with(page, events(answer))
        ask(page, "Q" * 200)
        expect_state(page, "done")
        assert not has_sideways_scroll(page)
        page.locator(".cite").first.click()
        expect(page.locator("#evidence")).to_be_in_viewport()
        assert not has_sideways_scroll(page)

    def test_an_open_panel_does_not_cover_its_sentence_on_a_phone(
        self, open_page: OpenPage
    ) -> None:
        page = open_page(width=360)
        parts = [
            (f"Rivers bring minerals, part {i}.", [quoting(RIVERS, "Rivers")]) for i in range(40)
        ]
        ask_and_wait(page, answered([RIVERS], *parts))
        last = page.locator(".sentence").last
        last.evaluate("(node) => scrollBy(0, node.getBoundingClientRect().bottom - innerHeight)")
        click_first_word(page, last)
        sentence, panel = last.bounding_box(), page.locator("#evidence").bounding_box()
        assert sentence
        assert panel
        assert sentence["y"] + sentence["height"] <= panel["y"]

    def test_the_dark_scheme_is_dark(self, open_page: OpenPage) -> None:
        brightness = """() => {
            const colour = getComputedStyle(document.documentElement).backgroundColor;
            return Math.max(...colour.match(/\\d+/g).slice(0, 3).map(Number));
        }"""
        assert open_page(scheme="light").evaluate(brightness) > 230
        assert open_page(scheme="dark").evaluate(brightness) < 50

    def test_nothing_moves_for_those_who_asked_for_stillness(self, open_page: OpenPage) -> None:
        page = open_page(still=True)
        ask_and_wait(page, OCEAN)
        page.locator(".cite").first.click()
        assert page.evaluate("() => document.getAnimations().length") == 0
