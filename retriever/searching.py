"""Questions in, passages out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from retriever.encoders import DualEncoder
from retriever.errors import QueryError
from retriever.index import Index, Snapshot, require_encoder
from retriever.passages import MAX_PASSAGES, Hit, Passage


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


class Retriever:
    """Dense retrieval: the passages whose vectors have the greatest product with the question's."""

    def __init__(self, index: Index, encoder: DualEncoder) -> None:
        """Join an index with the encoder it was built with.

        Raises:
            ArtefactMismatch: the index was built with another encoder.
        """
        require_encoder(index.current(), encoder)
        self.index = index
        self.encoder = encoder

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Searcher`: the encoder of questions, and the settings of the index."""
        return {
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

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages for a question, best first.

        Raises:
            QueryError: the question is blank, or `k` is not between 1 and `MAX_PASSAGES`.
        """
        return list(self.search_batch([question], k)[0])

    def search_batch(self, questions: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """See `Searcher`: one pass of the encoder and one of the index for all questions.

        Raises:
            QueryError: a question is blank, or `k` is not between 1 and `MAX_PASSAGES`.
        """
        if not all(question.strip() for question in questions):
            raise QueryError("the question is empty; ask something")
        if not 1 <= k <= MAX_PASSAGES:
            raise QueryError(f"k is {k}; it must be between 1 and {MAX_PASSAGES} passages")
        snapshot = self.index.current()
        scores, rows = snapshot.search(self.encoder.encode_questions(questions), k)
        return [
            _hits(snapshot, row_scores, row)
            for row_scores, row in zip(scores.tolist(), rows.tolist(), strict=True)
        ]


def _hits(snapshot: Snapshot, scores: Sequence[float], rows: Sequence[int]) -> tuple[Hit, ...]:
    passages = snapshot.take(rows)
    return tuple(
        Hit(passage, score, rank, similarity=score)
        for rank, (passage, score) in enumerate(zip(passages, scores, strict=True), start=1)
    )
