"""Answers and replies for the page's tests, and what a person does on the page.

Faked answers are made of the server's own types and Python's own string indices, so that a page
that counts characters otherwise than the server shows the wrong words.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from rag_rt.answers import (
    Answer,
    Evidence,
    FinishReason,
    Sentence,
    Status,
    Support,
    Timings,
    Usage,
)
from retriever import Hit, Passage

QUESTION = "Why is the ocean salty?"
WIKIPEDIA = "https://en.wikipedia.org/wiki/"


def passage(id: str, text: str, url: str | None = None) -> Passage:
    url = f"{WIKIPEDIA}{id}" if url is None else url
    return Passage(id, f"page-{id}", id, text, url, 0, len(text))


def quoting(passage: Passage, quote: str) -> Evidence:
    start = passage.text.index(quote)
    return Evidence(passage.id, start, start + len(quote), quote, 0.87)


def answered(passages: Sequence[Passage], *parts: tuple[str, list[Evidence]]) -> Answer:
    """An answer of these sentences, each with what it rests on."""
    text, sentences = "", []
    for words, evidence in parts:
        text += " " if text else ""
        support = Support.SUPPORTED if evidence else Support.UNSUPPORTED
        sentences.append(Sentence(len(text), len(text) + len(words), support, tuple(evidence)))
        text += words
    return whole(Status.ANSWERED, text, passages, sentences)


def whole(
    status: Status, text: str, passages: Sequence[Passage], sentences: Sequence[Sentence] = ()
) -> Answer:
    hits = tuple(Hit(p, 0.75, rank, 0.75) for rank, p in enumerate(passages, start=1))
    timings = Timings(0.08, 0.01, 4.2, 0.3, 4.6)
    usage = Usage(900, 80, FinishReason.STOP)
    return Answer(QUESTION, text, status, tuple(sentences), hits, usage, timings)


def events(answer: Answer) -> list[tuple[str, Any]]:
    """What the server sends for an answer, the text in pieces of three characters."""
    written: list[tuple[str, Any]] = [
        ("token", {"text": answer.text[i : i + 3]}) for i in range(0, len(answer.text), 3)
    ]
    finished: list[tuple[str, Any]] = [
        ("sentence", {"index": i, **asdict(s)}) for i, s in enumerate(answer.sentences)
    ]
    retrieval = ("retrieval", {"hits": [asdict(hit) for hit in answer.hits]})
    return [retrieval, *written, *finished, ("done", asdict(answer))]


def stream(parts: Sequence[tuple[str, Any]], newline: str = "\r\n") -> str:
    lines = [
        line for e, d in parts for line in (": ping", f"event: {e}", f"data: {json.dumps(d)}", "")
    ]
    return newline.join([*lines, ""])


def done_event(reply: str) -> Any:
    """The answer at the end of a stream that holds one line of data an event."""
    found = re.search(r"^event: done\r?\ndata: (.*)$", reply, re.MULTILINE)
    assert found
    return json.loads(found[1])


def reply_with(page: Page, parts: Sequence[tuple[str, Any]]) -> None:
    page.route(
        "**/answer",
        lambda route: route.fulfill(content_type="text/event-stream", body=stream(parts)),
    )


def reply_in_parts(
    page: Page, parts: Sequence[tuple[str, Any]], breaks: Sequence[int]
) -> list[str]:
    """Break the connection after so many events each time; gives the ids it was taken up at."""
    asked: list[str] = []
    ends = iter([*breaks, len(parts)])

    def handle(route: Route) -> None:
        last = route.request.headers.get("last-event-id", "")
        asked.append(last)
        first = int(last.partition(".")[2] or 0)
        body = "".join(
            f"id: a1.{number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
            for number, (name, data) in enumerate(parts[first : next(ends)], start=first + 1)
        )
        route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/answer", handle)
    return asked


def begin_reply(page: Page, parts: Sequence[tuple[str, Any]]) -> None:
    """Reply with these events and then stay silent, with the connection open."""
    page.evaluate(
        """(text) => {
            const start = (stream) => stream.enqueue(new TextEncoder().encode(text));
            window.fetch = async () => new Response(new ReadableStream({ start }));
        }""",
        stream(parts),
    )


def refuse_with(
    page: Page,
    status: int,
    code: str,
    message: str,
    *details: dict[str, str],
    retry_after: int | None = None,
) -> None:
    error = {"error": {"code": code, "message": message, "details": details}}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    page.route("**/answer", lambda r: r.fulfill(status=status, json=error, headers=headers))


def ask(page: Page, question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def expect_state(page: Page, state: str, timeout: float = 5_000) -> None:
    expect(page.locator("body")).to_have_attribute("data-state", state, timeout=timeout)


def ask_and_wait(page: Page, answer: Answer) -> None:
    reply_with(page, events(answer))
    ask(page)
    expect_state(page, "done")


def unanswered() -> Answer:
    """Passages were found, and they do not answer the question."""
    text = "The passages about Lake do not answer this."
    said = Sentence(0, len(text), Support.UNSUPPORTED, ())
    return whole(Status.UNANSWERED, text, [LAKE], [said])


def words_of(sentence: Locator) -> str:
    """The sentence without its citation."""
    words = sentence.evaluate("""(node) => {
        const copy = node.cloneNode(true);
        copy.querySelectorAll("button").forEach((button) => button.remove());
        return copy.textContent;
    }""")
    assert isinstance(words, str)
    return words


def first_word(sentence: Locator) -> tuple[float, float]:
    """A point where the sentence begins: the middle of its box may belong to another one."""
    sentence.scroll_into_view_if_needed()
    x, y = sentence.evaluate("""(node) => {
        const line = node.getClientRects()[0];
        return [line.left + 4, line.top + line.height / 2];
    }""")
    return x, y


def click_first_word(page: Page, sentence: Locator) -> None:
    page.mouse.click(*first_word(sentence))


def has_sideways_scroll(page: Page) -> bool:
    wide = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    return bool(page.evaluate(wide))


RIVERS = passage("River", "Rivers carry minerals to the sea. They start in the hills.")
SALT = passage("Salt", "Salt is a mineral. The ocean holds most of it.")
LAKE = passage("Lake", "A lake is surrounded by land.")
OCEAN = answered(
    [LAKE, SALT, RIVERS],
    ("Rivers bring minerals.", [quoting(RIVERS, "Rivers carry minerals to the sea.")]),
    (
        "The ocean keeps the salt they bring.",
        [quoting(SALT, "The ocean holds most of it."), quoting(RIVERS, "minerals to the sea")],
    ),
    ("Whales drink it.", []),
)
