"""Pages into passages: windows of at most 100 words, on sentence borders.

100 words is the passage length of DPR (Karpukhin et al. 2020, §4.1) and of the published system.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

from retriever.passages import Page, Passage
from retriever.sentences import Span, sentence_spans

MAX_WORDS = 100

_WORD = re.compile(r"\S+")


def split_page(page: Page) -> Iterator[Passage]:
    """The passages of a page, in order; together they hold every word of it exactly once.

    A sentence of more than `MAX_WORDS` words is cut at word borders, the only case in which a
    passage does not begin and end with a sentence.
    """
    for ordinal, (start, end) in enumerate(_windows(page.text)):
        first, character = _in_paragraphs(page, start)
        last, last_character = _in_paragraphs(page, end - 1)
        yield Passage(
            id=f"{page.id}:{ordinal}",
            page_id=page.id,
            title=page.title,
            text=page.text[start:end],
            url=page.url,
            start=start,
            end=end,
            start_paragraph_id=first,
            start_character=character,
            end_paragraph_id=last,
            end_character=None if last_character is None else last_character + 1,
        )


def _in_paragraphs(page: Page, offset: int) -> tuple[int, int] | tuple[None, None]:
    """The paragraph that a character of the page is in, and its offset there."""
    number = bisect_right(page.paragraph_starts, offset)
    if not number:
        return None, None
    return number, offset - page.paragraph_starts[number - 1]


def _windows(text: str) -> Iterator[Span]:
    window: Span | None = None
    words = 0
    for start, end in _pieces(text):
        length = len(_WORD.findall(text, start, end))
        if window is not None and words + length > MAX_WORDS:
            yield window
            window, words = None, 0
        window = (window[0] if window else start, end)
        words += length
    if window is not None:
        yield window


def _pieces(text: str) -> Iterator[Span]:
    """Sentences, the overlong ones cut into runs of `MAX_WORDS` words."""
    for start, end in sentence_spans(text):
        words = [match.span() for match in _WORD.finditer(text, start, end)]
        for first in range(0, len(words), MAX_WORDS):
            run = words[first : first + MAX_WORDS]
            yield run[0][0], run[-1][1]
