"""Questions in, passages out."""

from retriever.encoders import Encoder
from retriever.errors import QueryError
from retriever.index import Index
from retriever.passages import MAX_PASSAGES, Hit


class Retriever:
    """Dense retrieval: the passages whose vectors are nearest to the question's."""

    def __init__(self, index: Index, encoder: Encoder) -> None:
        """Join an index with the encoder it was built with.

        Raises:
            ArtefactMismatch: the index was built with another encoder.
        """
        index.require_encoder(encoder)
        self.index = index
        self.encoder = encoder

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages for a question, best first.

        Raises:
            QueryError: the question is blank, or `k` is not between 1 and `MAX_PASSAGES`.
        """
        if not question.strip():
            raise QueryError("the question is empty; ask something")
        if not 1 <= k <= MAX_PASSAGES:
            raise QueryError(f"k is {k}; it must be between 1 and {MAX_PASSAGES} passages")
        scores, rows = self.index.search(self.encoder.encode([question]), k)
        passages = self.index.passages.take(rows[0].tolist())
        return [
            Hit(passage, float(score), rank)
            for rank, (passage, score) in enumerate(zip(passages, scores[0], strict=True), start=1)
        ]
