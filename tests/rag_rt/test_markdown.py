"""Markdown of answers whose every text is out to be markup, read by a real parser of Markdown."""

from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

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
from rag_rt.inert import inert
from rag_rt.markdown import CUT, IN_PART, NO_SUPPORT, answer_as_markdown
from retriever import Hit, Passage

ADDRESS = "https://en.wikipedia.org/wiki/Sea"
parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKUP = (
    "# * _ ` ``` ~~~ [ ] ( ) ![ ](x) [^1] [^1]: <b <b> <script> & &lt; &#0; \\ | |-| --- === - + > "
    "1. 2) ! ~~ ** __ http:// https://a.b www.a.b a@b.c javascript:x : $ ^ ” “ . é 🧂"
)
SPACED = [
    "- ",
    "1. ",
    " #",
    " _x_ ",
    " ~~x~~ ",
    "<!-- -->",
    " ",
    "\n",
    "\n\n",
    "\t",
    "\r",
    "\u2028",
    "\xa0",
]
CONTROLS = ["\x00", "\x07", "\x1b[2J", "\x9b31m", "\u202e"]
pieces = st.sampled_from([*MARKUP.split(), *SPACED, *CONTROLS]) | st.text(max_size=4)
texts = st.lists(pieces, max_size=12).map("".join)
sentences = st.builds("{}a{}".format, texts, texts)  # every sentence and question has a letter
addresses = st.sampled_from([ADDRESS, "http://a.b/c?d=1&copy;=2"]) | texts.map(
    lambda text: f"https://a.b/{text}"
)


def answer_of(
    *told: tuple[str, Support, str],
    question: str = "Why?",
    title: str = "Sea",
    address: str = ADDRESS,
    quotation: bool = False,
    status: Status = Status.ANSWERED,
    end: FinishReason = FinishReason.STOP,
) -> Answer:
    """An answer of sentences, each with its support and the passage that is quoted whole."""
    hits, grounded, text = [], [], ""
    for number, (sentence, support, source) in enumerate(told):
        passage = Passage(str(number), "page", title, source, address, 0, len(source))
        hits.append(Hit(passage, 0.9, number + 1, 0.9))
        evidence = (Evidence(str(number), 0, len(source), source, 0.9),)
        text += " " if text else ""
        span = (len(text), len(text) + len(sentence))
        cited = () if support is Support.UNSUPPORTED else evidence
        grounded.append(Sentence(*span, support, cited, quotation=quotation))
        text += sentence
    timings = Timings(0, 0, 0, 0, 0)
    usage = Usage(1, 1, end)
    return Answer(question, text, status, tuple(grounded), tuple(hits), usage, timings)


def leaves(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from leaves(token.children) if token.children else [token]


def plain(tokens: list[Token]) -> str:
    return "".join(leaf.content for leaf in leaves(tokens))


def links(tokens: list[Token]) -> list[str]:
    return [str(t.attrs["href"]) for t in leaves(tokens) if t.type == "link_open"]


def blocks(markdown: str) -> tuple[list[str], list[str], set[str]]:
    """The text of each block, where its links lead, and the types of all tokens."""
    tokens = parser.parse(markdown)
    inlines = [token for token in tokens if token.type == "inline"]
    types = {leaf.type for leaf in leaves(tokens)}
    return [plain([inline]) for inline in inlines], links(tokens), types


@settings(max_examples=300)
@given(sentences, sentences, texts, texts, addresses, st.booleans())
def test_whatever_is_foreign_comes_out_as_text(
    question: str, sentence: str, title: str, source: str, address: str, quotation: bool
) -> None:
    answer = answer_of(
        (sentence, Support.SUPPORTED, source),
        question=question,
        title=title,
        address=address,
        quotation=quotation,
    )
    texts, addresses, types = blocks(answer_as_markdown(answer))
    said = f"“{inert(sentence)}”" if quotation else inert(sentence)
    note = f"[^1]: {inert(title)}: “{inert(source)}”"
    assert texts == [inert(question).strip(), f"{said}[^1]", note]
    assert [unquote(a) for a in addresses] == [unquote(quote(address))]
    assert types <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close"),
        *("text", "link_open", "link_close"),
    }


@given(sentences, sentences, st.sampled_from([Status.NOT_FOUND, Status.UNANSWERED]))
def test_what_is_no_answer_is_only_its_words(text: str, question: str, status: Status) -> None:
    told = (text, Support.SUPPORTED, "Passage.")
    markdown = answer_as_markdown(answer_of(told, question=question, status=status))
    texts, addresses, _ = blocks(markdown)
    assert texts == [inert(question).strip(), inert(text)]
    assert addresses == []


def test_sentences_carry_their_quotes_and_what_has_none_says_so() -> None:
    answer = answer_of(
        ("Rivers bring salt!", Support.SUPPORTED, "Rivers carry salt."),
        ("It is 3.5 % salt.", Support.PARTLY, "It is salt."),
        ("Whales drink it.", Support.UNSUPPORTED, "Whales swim."),
        question="Why is the sea salty?",
        end=FinishReason.LENGTH,
    )
    assert answer_as_markdown(answer) == (
        "# Why is the sea salty?\n\n"
        rf"Rivers bring salt\![^1] It is 3.5 % salt.[^2] {IN_PART} "
        f"Whales drink it. {NO_SUPPORT} {CUT}"
        f"\n\n[^1]: [Sea]({ADDRESS}): “Rivers carry salt.”"
        f"\n\n[^2]: [Sea]({ADDRESS}): “It is salt.”\n"
    )


def test_a_quote_cited_twice_has_one_footnote() -> None:
    answer = answer_of(("One.", Support.SUPPORTED, "Both."), ("Two.", Support.SUPPORTED, "?"))
    first, second = answer.sentences
    twice = Sentence(second.start, second.end, Support.SUPPORTED, first.evidence)
    again = Answer(
        *("?", answer.text, Status.ANSWERED, (first, twice), answer.hits),
        *(answer.usage, answer.timings),
    )
    assert answer_as_markdown(again).splitlines()[2:] == [
        "One.[^1] Two.[^1]",
        "",
        f"[^1]: [Sea]({ADDRESS}): “Both.”",
    ]


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "/sea", "", "http://"]
)
def test_only_addresses_of_the_web_become_links(address: str) -> None:
    answer = answer_of(("Salt.", Support.SUPPORTED, "Salt."), address=address)
    texts, addresses, _ = blocks(answer_as_markdown(answer))
    assert (texts[-1], addresses) == ("[^1]: Sea: “Salt.”", [])
