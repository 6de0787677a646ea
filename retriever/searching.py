"""Questions in, passages out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from retriever.errors import QueryError
from retriever.fusing import CANDIDATES, fuse
from retriever.index import require_encoder
from retriever.passages import MAX_PASSAGES, MOST_HITS, Hit, Passage
from retriever.search_modes import SEARCH_MODES, SearchMode
from retriever.searchable import SearchableIndex, SearchableSnapshot
from retriever.vectors import DualEncoder, Vectors

DEFAULT_MODE: SearchMode = "hybrid"  # the best of the three in benchmarks/hybrid.py


class Searcher(Protocol):
    """Whatever finds passages for questions."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the passages depend on beside the questions: any JSON values."""
        ...

    def search_batch(self, questions: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """The `k` best passages of each question, best first; fewer where there are fewer."""
        ...


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What can be found."""

    passages: int
    pages: int
    source: str


class Reranking(Protocol):
    """What orders passages anew: `retriever.reranking.Reranker`."""

    name: str

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in another order, with other scores and ranks."""
        ...


class Ranking(NamedTuple):
    """The passages found for a question (K of them), best first."""

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[Any]
    similarities: npt.NDArray[np.float32]


class Retriever:
    """Finds passages by their vectors, by their words, or by both."""

    def __init__(
        self,
        index: SearchableIndex,
        encoder: DualEncoder,
        mode: SearchMode | None = None,
        reranker: Reranking | None = None,
    ) -> None:
        """Join an index with the encoder it was built with.

        Args:
            index: what is searched.
            encoder: of its passages.
            mode: what passages are found by where a search does not say; by default both for
                encoders whose vectors have length 1, and vectors alone for the others, DPR and
                REALM, whose published figures are so.
            reranker: orders the best `MAX_PASSAGES` of what is found, and nothing else is given.

        Raises:
            ArtefactMismatch: the index was built with another encoder.
        """
        require_encoder(index.current(), encoder)
        self.index = index
        self.encoder = encoder
        self.mode = mode or (DEFAULT_MODE if encoder.cosine else "dense")
        self.reranker = reranker

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Searcher`: mode, encoder of questions, and the settings of the index."""
        return {
            "mode": self.mode,
            "reranker": self.reranker.name if self.reranker else None,
            "encoder": self.encoder.name,
            "question_fingerprint": self.encoder.question_fingerprint,
            "index": dict(self.index.manifest.settings),
        }

    @property
    def corpus(self) -> CorpusFacts:
        """What can be found now."""
        snapshot = self.index.current()
        description = snapshot.manifest.settings["source_description"]
        return CorpusFacts(len(snapshot), snapshot.page_count, description)

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, None where there is none."""
        return self.index.current().find(passage_id)

    def search(self, question: str, k: int, mode: SearchMode | None = None) -> list[Hit]:
        """The `k` best passages for a question, best first.

        Raises:
            QueryError: as `search_batch`.
        """
        return list(self.search_batch([question], k, mode)[0])

    def search_batch(
        self, questions: Sequence[str], k: int, mode: SearchMode | None = None
    ) -> list[tuple[Hit, ...]]:
        """See `Searcher`: one pass of the encoder, over the index as it is at one moment.

        Args:
            questions: any number of them.
            k: at most this many hits each; by words alone there are often fewer.
            mode: what passages are found by; by default the retriever's.

        Raises:
            QueryError: a question is blank, `k` is not between 1 and `MOST_HITS`, or there is no
                such mode.
        """
        if not all(question.strip() for question in questions):
            raise QueryError("the question is empty; ask something")
        if not 1 <= k <= MOST_HITS:
            raise QueryError(f"k is {k}; it must be between 1 and {MOST_HITS} passages")
        mode = mode or self.mode
        if mode not in SEARCH_MODES:
            raise QueryError(f"the mode is '{mode}'; it must be dense, bm25 or hybrid")
        if not questions:
            return []
        if self.reranker is None:
            return self._found(questions, k, mode)
        found = self._found(questions, max(k, MAX_PASSAGES), mode)
        return [
            tuple(self.reranker.rerank(question, hits[:MAX_PASSAGES])[:k])
            for question, hits in zip(questions, found, strict=True)
        ]

    def _found(self, questions: Sequence[str], k: int, mode: SearchMode) -> list[tuple[Hit, ...]]:
        snapshot = self.index.current()
        queries = self.encoder.encode_questions(questions)
        match mode:
            case "dense":
                rankings = _by_vectors(snapshot, queries, k)
            case "bm25":
                rankings = _by_words(snapshot, questions, queries, k)
            case "hybrid":
                depth = max(k, CANDIDATES)
                rankings = [
                    _by_both(snapshot, near, shared, k)
                    for near, shared in zip(
                        _by_vectors(snapshot, queries, depth),
                        _by_words(snapshot, questions, queries, depth),
                        strict=True,
                    )
                ]
        return [_hits(snapshot, ranking) for ranking in rankings]


def _by_vectors(snapshot: SearchableSnapshot, queries: Vectors, k: int) -> list[Ranking]:
    found = zip(*snapshot.search(queries, k), strict=True)
    return [Ranking(rows[rows >= 0], *(scores[rows >= 0],) * 2) for scores, rows in found]


def _by_words(
    snapshot: SearchableSnapshot, questions: Sequence[str], queries: Vectors, k: int
) -> list[Ranking]:
    found = [snapshot.search_words(question, k) for question in questions]
    return [
        Ranking(rows, scores, snapshot.similarities(query[None], rows[None])[0])
        for query, (scores, rows) in zip(queries, found, strict=True)
    ]


def _by_both(snapshot: SearchableSnapshot, near: Ranking, shared: Ranking, k: int) -> Ranking:
    """Both rankings of a question as one."""
    rows, first = np.unique(np.concatenate([near.rows, shared.rows]), return_index=True)
    similarities = np.concatenate([near.similarities, shared.similarities])[first]
    word_scores = np.zeros(len(rows), dtype=np.float32)
    word_scores[np.searchsorted(rows, shared.rows)] = shared.scores
    scores = fuse(similarities, word_scores, snapshot.page_ids(rows.tolist()))
    best = np.argsort(-scores, kind="stable")[:k]
    return Ranking(rows[best], scores[best], similarities[best])


def _hits(snapshot: SearchableSnapshot, ranking: Ranking) -> tuple[Hit, ...]:
    passages = snapshot.take(ranking.rows.tolist())
    numbers = zip(ranking.scores.tolist(), ranking.similarities.tolist(), strict=True)
    return tuple(
        Hit(passage, score, rank, similarity)
        for rank, (passage, (score, similarity)) in enumerate(
            zip(passages, numbers, strict=True), start=1
        )
    )
