"""The control of retrieval: passages that have nothing to do with the question.

Krishna et al. 2021 (*Hurdles to Progress in Long-form Question Answering*, §3.1) put passages of
random documents in the place of the retrieved ones, to see whether the answers change.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from retriever.errors import QueryError
from retriever.passages import Hit, Passage
from retriever.searching import Retriever


class RandomRetriever:
    """Finds as many passages as a retriever does, drawn at random from other pages of its index.

    Each question has its own draw, which depends on the seed and the question alone: not on the
    order of the questions, nor on which of them are asked together. No two passages of a draw are
    from one page, and none is from a page that the retriever finds among its `k` passages. The
    passages carry the scores of those that they stand for, so that whatever reads scores does as
    it did; only the texts differ.
    """

    def __init__(self, retriever: Retriever, seed: int) -> None:
        self.retriever = retriever
        self._seed = seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Searcher`."""
        return {**self.retriever.settings, "random_passages": self._seed}

    def search_batch(self, questions: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """See `Searcher`.

        Raises:
            QueryError: as `Retriever.search_batch`, or the index holds too few other pages.
        """
        found = self.retriever.search_batch(questions, k)
        return [self._instead(*pair) for pair in zip(questions, found, strict=True)]

    def _instead(self, question: str, hits: Sequence[Hit]) -> tuple[Hit, ...]:
        taken = {hit.passage.page_id for hit in hits}
        drawn: list[Hit] = []
        for passage in self._shuffled(question):
            if len(drawn) == len(hits):
                break
            if passage.page_id not in taken:
                taken.add(passage.page_id)
                drawn.append(replace(hits[len(drawn)], passage=passage))
        if len(drawn) < len(hits):
            raise QueryError(
                f"the index at {self.retriever.index.directory} holds only {len(drawn)} pages "
                f"beside those that are found, and {len(hits)} are to be drawn; lower k, or use "
                "a larger index"
            )
        return tuple(drawn)

    def _shuffled(self, question: str) -> Iterator[Passage]:
        """All passages of the index, in an order of the question's own, one after the other."""
        snapshot = self.retriever.index.current()
        order = random.Random(f"{self._seed}\n{question}")  # noqa: S311  # no secret depends on it
        for row in _permutation(snapshot.row_count, order):
            if snapshot.alive(row):
                yield from snapshot.take([row])


def _permutation(size: int, order: random.Random) -> Iterator[int]:
    """The numbers below `size` in random order; what is not asked for takes no memory."""
    moved: dict[int, int] = {}  # Fisher-Yates, with only the places that differ from the start
    for place in range(size):
        other = order.randrange(place, size)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)
