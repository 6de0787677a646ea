"""An answer while it grows: its text, and its sentences with their support as they end."""

from collections.abc import Callable, Iterator

from rag_rt.answers import Sentence
from rag_rt.events import Grounded, Wrote
from retriever.sentences import finished_spans, sentence_spans

Ground = Callable[[str, int, int], Sentence]
"""The support of the sentence `text[start:end]`, by text, start and end."""


class Paragraph:
    """The texts of all `Wrote` that its methods give make up its text."""

    def __init__(self, ground: Ground) -> None:
        self.text = ""
        self.sentences: list[Sentence] = []
        self.ground = ground

    def grow(self, text: str) -> Iterator[Wrote | Grounded]:
        """Go on to a longer text; sentences are grounded when what follows cannot change them."""
        yield from self._write(text)
        for span in finished_spans(self.text)[len(self.sentences) :]:
            yield self._told(self.ground(self.text, *span))

    def finish(self) -> Iterator[Grounded]:
        """Ground what is left of a text that `grow` gave: nothing follows it."""
        for span in sentence_spans(self.text)[len(self.sentences) :]:
            yield self._told(self.ground(self.text, *span))

    def add(self, text: str, sentence: Sentence) -> Iterator[Wrote | Grounded]:
        """Go on to a text that ends with a sentence whose support is known."""
        yield from self._write(text)
        yield self._told(sentence)

    def _write(self, text: str) -> Iterator[Wrote]:
        piece = text[len(self.text) :]
        self.text = text
        if piece:
            yield Wrote(piece)

    def _told(self, sentence: Sentence) -> Grounded:
        self.sentences.append(sentence)
        return Grounded(len(self.sentences) - 1, sentence)
