"""The mode `grounded`: each sentence is written again, or quoted, until the passages support it.

A sentence is told when it is settled, since it may be taken back before. What is taken back is
forgotten by the model too, so that one invention does not lead to others.
"""

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from rag_rt.answers import FinishReason, Sentence, Support
from rag_rt.choosing import Sampling
from rag_rt.events import Turns
from rag_rt.generation import Generation
from rag_rt.modes.paragraph import Paragraph
from rag_rt.words import content_words, stems
from retriever.sentences import ends_whole, finished_spans, sentence_spans

_TRIES = 1
_TEMPERATURE = 0.7
_TOP_P = 0.9
_COPY = 0.7  # share of content words that one source holds, from which a sentence is a copy of it
_TOO_OFTEN = 3  # times that a sentence says a word, more often than its source
_SAID = 0.8  # share of a sentence's content words in an earlier one, from which it says the same


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sentence is held to, and what is done when it fails."""

    sampling: Sampling
    """How a sentence is written first."""
    again: tuple[Sampling, ...]
    """How it is written again: one for each further try."""
    quotes: tuple[str, ...]
    """Sentences of the passages that take its place in the end, in this order."""
    closely: bool
    """Whether each rests on one sentence of the passages, and a copy puts in no other words."""
    titles: Mapping[str, str]
    """Of the passages, by their ids: what a copy may name in the place of "it"."""


def written_again(sampling: Sampling) -> tuple[Sampling, ...]:
    """How a sentence is chosen when it is written again: by chance, among the likely words."""
    warmer = max(sampling.temperature, _TEMPERATURE)
    return (replace(sampling, temperature=warmer, top_p=min(sampling.top_p, _TOP_P)),) * _TRIES


class GroundedWriter:
    """Writes one paragraph, sentence by sentence."""

    def __init__(self, generation: Generation, paragraph: Paragraph, rules: Rules) -> None:
        """Begin with a fresh generation, whose sampling is that of the rules."""
        self._generation = generation
        self._paragraph = paragraph
        self._rules = rules
        self._quotes = list(rules.quotes)

    def turns(self) -> Turns:
        """Write until the model ends, or nothing that is supported is left to say."""
        while (sentence := (yield from self._settle())) is not None:
            yield from self._paragraph.add(self._text[: sentence.end], sentence)

    @property
    def _text(self) -> str:
        return self._generation.text.lstrip()

    @property
    def _settled(self) -> int:
        return len(self._paragraph.text)

    def _settle(self) -> Generator[None, None, Sentence | None]:
        """The next sentence: as written, as written again, or a quotation; None at the end."""
        for sampling in (None, *self._rules.again):
            if sampling is not None:
                self._rewind(self._settled, sampling)
            sentence = yield from self._next()
            if sentence is None and self._paragraph.sentences:
                return None
            if sentence is not None and self._holds(sentence):
                if sampling is not None:
                    self._rewind(sentence.end, self._rules.sampling)
                return sentence
        return self._quotation() or self._last_resort()

    def _next(self) -> Generator[None, None, Sentence | None]:
        """The sentence that the model writes next; None where it ends, or is cut in its midst."""
        while True:
            rest = self._text[self._settled :]
            spans = finished_spans(rest)
            if not spans and self._generation.ended:
                spans = sentence_spans(rest)
                if spans and not ends_whole(rest):
                    if self._generation.finish_reason is FinishReason.STOP:
                        self._generation.insert(".")
                        continue
                    if self._paragraph.sentences:
                        return None
            if spans:
                start, end = (self._settled + offset for offset in spans[0])
                return self._paragraph.ground(self._text, start, end)
            if self._generation.ended:
                return None
            self._generation.advance()
            yield None

    def _holds(self, sentence: Sentence) -> bool:
        return (
            sentence.support is Support.SUPPORTED
            and not self._is_cut(sentence)
            and not self._is_said(self._text[sentence.start : sentence.end])
            and not (self._rules.closely and self._strays(sentence))
        )

    def _is_cut(self, sentence: Sentence) -> bool:
        at_end = self._generation.ended and sentence.end == len(self._text.rstrip())
        return at_end and not ends_whole(self._text)

    def _strays(self, sentence: Sentence) -> bool:
        """Whether it joins several sources, or is a copy of one with other words put in.

        A small model puts a word of the question into the place of another, or loses its way and
        says a word again; so small a change hardly lowers the probability of support.
        """
        first, *others = sentence.evidence
        said = Counter(stems(self._text[sentence.start : sentence.end]))
        held = Counter(stems(first.quote))
        more = said - held
        copied = 1 - more.total() / max(1, said.total())
        foreign = set(more) - content_words(self._rules.titles[first.passage_id])
        lost = any(said[stem] >= _TOO_OFTEN for stem in more)
        return bool(others or lost or (copied >= _COPY and foreign))

    def _is_said(self, text: str) -> bool:
        words = content_words(text)
        said = (self._paragraph.text[s.start : s.end] for s in self._paragraph.sentences)
        return any(len(words & content_words(old)) >= _SAID * len(words) for old in said)

    def _quotation(self) -> Sentence | None:
        """The first quote that is not said yet, in the place of what the model wrote."""
        while self._quotes:
            quote = self._quotes.pop(0)
            if self._is_said(quote):
                continue
            self._rewind(self._settled, self._rules.sampling)
            self._generation.insert(f" {quote}" if self._settled else quote)
            if self._text.endswith(quote):
                end = len(self._text)
                return self._paragraph.ground(self._text, end - len(quote), end)
        return None

    def _last_resort(self) -> Sentence | None:
        """What there is, with its label, where otherwise there were no answer."""
        spans = sentence_spans(self._text)
        if self._paragraph.sentences or not spans:
            return None
        return self._paragraph.ground(self._text, *spans[0])

    def _rewind(self, length: int, sampling: Sampling) -> None:
        lead = len(self._generation.text) - len(self._text)
        self._generation.rewind(lead + length if length else 0, sampling)
