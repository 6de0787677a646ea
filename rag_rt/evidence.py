"""The sentences of the retrieved passages, with their vectors: what prompts and proofs draw on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from retriever import Hit
from retriever.encoders import Encoder, Vectors
from retriever.sentences import sentence_spans


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """A sentence of a retrieved passage: `hits[hit].passage.text[start:end] == text`."""

    hit: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class EvidencePool:
    """All sentences of the hits, in order, and unit vectors (N, D) of them."""

    hits: tuple[Hit, ...]
    sentences: tuple[SourceSentence, ...]
    vectors: Vectors
    question_vector: Vectors
    question: str

    @classmethod
    def gather(cls, question: str, hits: Sequence[Hit], encoder: Encoder) -> Self:
        """Cut the hits into sentences and encode them together with the question."""
        sentences = tuple(
            SourceSentence(number, start, end, hit.passage.text[start:end])
            for number, hit in enumerate(hits)
            for start, end in sentence_spans(hit.passage.text)
        )
        vectors = encoder.encode([question, *(sentence.text for sentence in sentences)])
        return cls(tuple(hits), sentences, vectors[1:], vectors[0], question)

    def topic_vectors(self) -> Vectors:
        """Unit vectors (H, D) of the hits: the mean of their sentences'."""
        owner = np.array([sentence.hit for sentence in self.sentences])
        sums = np.zeros((len(self.hits), self.vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, owner, self.vectors)
        unit: Vectors = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return unit
