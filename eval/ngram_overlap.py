"""How much of an answer stands in the passages: n-gram overlap, as in "Hurdles" (its section 3.1).

A share is over the n-grams of the answer, repeats counted: how many of them stand anywhere in the
passages (title or text; no n-gram runs from one into the next). Words are KILT's normalised ones:
lower-cased, without ASCII punctuation and articles. The paper's third measure counts lemmatised
nouns and numbers, to discount stop words and what the question names; no lemmatiser ships here, so
`content` counts distinct content words, cut to a rough stem, and numbers, without those that the
question holds. An answer without any such item shares 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from eval.answer_metrics import normalised_words
from rag_rt.words import content_words, numbers
from retriever import Hit

MEASURES = ("unigram", "bigram", "content")

Bigram = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PassageWords:
    """What the passages of one question hold, to look n-grams up in."""

    unigrams: frozenset[str]
    bigrams: frozenset[Bigram]
    content: frozenset[str]

    @classmethod
    def of(cls, hits: Iterable[Hit]) -> Self:
        """The words of the titles and texts of passages."""
        texts = [text for hit in hits for text in (hit.passage.title, hit.passage.text)]
        pieces = [normalised_words(text) for text in texts]
        return cls(
            frozenset(word for piece in pieces for word in piece),
            frozenset(pair for piece in pieces for pair in _bigrams(piece)),
            frozenset(word for text in texts for word in _content(text)),
        )

    def shares(self, answer: str, question: str) -> tuple[float, ...]:
        """The share of the answer in [0, 1] that stands here, by each of `MEASURES`."""
        words = normalised_words(answer)
        content = _content(answer) - _content(question)
        return (
            _share(words, self.unigrams),
            _share(_bigrams(words), self.bigrams),
            _share(tuple(content), self.content),
        )


def _bigrams(words: Sequence[str]) -> list[Bigram]:
    return list(pairwise(words))


def _content(text: str) -> frozenset[str]:
    """Content words and whole numbers; `content_words` alone would take 3.5 for 3 and 5."""
    words = (word for word in content_words(text) if not word.isdigit())
    return frozenset(words) | numbers(text)


def _share(items: Sequence[object], held: frozenset[object]) -> float:
    return sum(item in held for item in items) / len(items) if items else 0.0
