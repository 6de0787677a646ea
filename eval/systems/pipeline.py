"""The pipeline itself, `rag_rt.answerer.Answerer`, as a reader: any causal language model.

Answers are decoded one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eval.systems.system import Reading
from rag_rt.answerer import Answerer
from rag_rt.requests import Request
from retriever import Hit


class PipelineReader:
    """Answers with sentences, evidence, usage and timings."""

    independent = True

    def __init__(self, answerer: Answerer, *, max_tokens: int, seed: int) -> None:
        self._answerer = answerer
        self._max_tokens = max_tokens
        self._seed = seed
        self._weights = answerer.generator.weights_digest()

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Reader`; without `min_relevance` it answers always."""
        return {
            "generator": self._answerer.generator.name,
            "weights": self._weights,
            "precision": self._answerer.generator.precision,
            "mode": Request.mode.value,
            "prompt": type(self._answerer.form).__name__,
            "entailment": self._answerer.entailment.name,
            "min_relevance": self._answerer.min_relevance,
            "max_tokens": self._max_tokens,
            "seed": self._seed,
        }

    def read(
        self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]
    ) -> Iterator[Reading]:
        """See `Reader`; greedy."""
        for question, hits in zip(questions, passages, strict=True):
            yield Reading.of(self._answerer.answer_from(self._request(question), hits))

    def _request(self, question: str) -> Request:
        return Request(question, max_tokens=self._max_tokens, seed=self._seed)
