"""The mode `extractive`: sentences of the passages, word for word."""

from collections.abc import Sequence

from rag_rt.events import Turns
from rag_rt.modes.paragraph import Paragraph


def quote_all(quotes: Sequence[str], paragraph: Paragraph) -> Turns:
    """Make up the paragraph of quotes alone, in their order."""
    for quote in quotes:
        start = len(paragraph.text) + bool(paragraph.text)
        text = f"{paragraph.text} {quote}" if paragraph.text else quote
        yield from paragraph.add(text, paragraph.ground(text, start, len(text)))
