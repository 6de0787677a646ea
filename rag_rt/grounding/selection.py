"""Choosing the passage sentences that a claim rests on, several where one does not say it all."""

from dataclasses import dataclass

import numpy as np

from rag_rt.answers import Evidence
from rag_rt.grounding.passages import ReadPassages
from rag_rt.words import content_words
from retriever.encoders import Vectors

_MOST = 3  # quotes for a claim
_LEAST_GAIN = 2  # content words that a further quote must add: one alone is often a chance meeting


@dataclass(frozen=True, slots=True)
class Chosen:
    """The passage sentences chosen for a claim, as numbers in the pool, the best one first."""

    sentences: tuple[int, ...]
    scores: tuple[float, ...]


def choose(claim: str, vector: Vectors, passages: ReadPassages) -> Chosen:
    """The sentence of the best score, and those that hold further words of the claim.

    A score is the mean of the cosine and the share of the claim's content words, in [0, 1]; that
    of a verbatim copy is 1, so a copy always comes first.

    Args:
        claim: the words of the answer.
        vector: the unit vector (D,) of them.
        passages: with at least one sentence.
    """
    words = content_words(claim)
    cosines = np.clip(passages.pool.vectors @ vector, 0, 1)  # (S,)
    shared = [words & held for held in passages.sentence_words]
    recall = np.array([len(found) / max(1, len(words)) for found in shared])
    copies = np.array([sentence.text == claim for sentence in passages.pool.sentences])
    scores = np.where(copies, 1.0, (cosines + recall) / 2)
    chosen = [int((scores + copies).argmax())]  # other punctuation or order may score 1 as well
    covered = shared[chosen[0]]
    while len(chosen) < _MOST:
        gains = np.array([len(found - covered) for found in shared])
        best = int(np.lexsort((scores, gains))[-1])
        if gains[best] < _LEAST_GAIN:
            break
        chosen.append(best)
        covered |= shared[best]
    return Chosen(tuple(chosen), tuple(float(scores[number]) for number in chosen))


def quotes(chosen: Chosen, passages: ReadPassages) -> tuple[Evidence, ...]:
    """The chosen sentences as evidence."""
    pool = passages.pool
    sources = [pool.sentences[number] for number in chosen.sentences]
    return tuple(
        Evidence(pool.hits[source.hit].passage.id, source.start, source.end, source.text, score)
        for source, score in zip(sources, chosen.scores, strict=True)
    )


def surroundings(chosen: Chosen, passages: ReadPassages) -> str:
    """The chosen sentences with what they speak of: the question, titles, the sentence before each.

    A quote says "he" or "that year" of what its passage named just before.
    """
    pool = passages.pool
    parts = [pool.question]
    for number in chosen.sentences:
        source = pool.sentences[number]
        before = pool.sentences[number - 1] if number else source
        parts.append(pool.hits[source.hit].passage.title)
        parts.extend([before.text] if before.hit == source.hit else [])
        parts.append(source.text)
    return "\n".join(parts)
