"""Copying an answer as Markdown: the page writes what the command line writes."""

import json
from dataclasses import asdict, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from rag_rt.answers import Answer, FinishReason, Status, Support
from rag_rt.markdown import answer_as_markdown
from tests.browser.replies import OCEAN, ask_and_wait
from tests.rag_rt.test_markdown import addresses, answer_of, sentences, texts

AS_MARKDOWN = """async (answer) =>
    (await import("/static/markdown.js")).answerAsMarkdown(answer)"""

told = st.lists(st.tuples(sentences, st.sampled_from(Support), texts), max_size=3)
framing = st.fixed_dictionaries(
    {
        "question": sentences,
        "title": texts,
        "address": addresses | st.just("javascript:alert(1)"),
        "quotation": st.booleans(),
        "status": st.sampled_from([Status.ANSWERED, Status.ANSWERED, Status.NOT_FOUND]),
        "end": st.sampled_from(FinishReason),
    }
)
answers = st.builds(lambda told, framing: answer_of(*told, **framing), told, framing)


def as_json(answer: Answer) -> Any:
    return json.loads(json.dumps(asdict(answer)))


def test_the_page_and_the_command_line_write_the_same(page: Page) -> None:
    @settings(max_examples=150)
    @given(answers)
    def same(answer: Answer) -> None:
        assert page.evaluate(AS_MARKDOWN, as_json(answer)) == answer_as_markdown(answer)

    same()


def test_the_copied_text_is_the_answer_with_its_citations(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask_and_wait(page, OCEAN)
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    expect(page.locator("#announcer")).to_have_text("Copied as Markdown.")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == answer_as_markdown(OCEAN)
    assert "[^1]: [River](https://en.wikipedia.org/wiki/River)" in copied


def test_without_a_clipboard_the_old_way_copies(page: Page) -> None:
    """As on a page that is served over plain HTTP to another machine."""
    page.evaluate("""() => {
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        document.addEventListener("copy", () =>
            (window.copied = document.activeElement.value));
    }""")
    ask_and_wait(page, OCEAN)
    button = page.get_by_role("button", name="Copy as Markdown")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#copy")).to_have_text("Copied")
    expect(page.locator("#copy")).to_be_focused()
    assert page.evaluate("() => window.copied") == answer_as_markdown(OCEAN)


def test_a_quotation_stands_in_quotation_marks(page: Page) -> None:
    first, *rest = OCEAN.sentences
    ask_and_wait(page, replace(OCEAN, sentences=(replace(first, quotation=True), *rest)))
    expect(page.locator(".sentence").first).to_contain_text("“Rivers bring minerals.”")
