"""One index out of shards: asked together, their answers merged as if they were one.

Where the shards are is not known here; `Shards` asks them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from retriever.artefacts import Manifest
from retriever.exact_vectors import Rows, Vectors
from retriever.index_files import KIND, VERSION
from retriever.passages import Passage
from retriever.shards import ShardFacts


class Shards(Protocol):
    """All shards of an index."""

    @property
    def facts(self) -> Sequence[ShardFacts]:
        """Those of each shard, in order."""
        ...

    def ask(self, question: str, arguments: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What a method of `retriever.index.Snapshot` returns on each of some shards.

        Args:
            question: the name of the method.
            arguments: those for each shard that is to be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class ShardedSnapshot:
    """The passages of all shards: what `retriever.index.Snapshot` is for an index on this machine.

    A row counts through the shards in order.
    """

    directory: str
    """Where they are, for messages."""
    shards: Shards

    @property
    def manifest(self) -> Manifest:
        """Of the index that was cut, as far as it says what can be found."""
        counts = {"passages": len(self), "pages": self.page_count}
        return Manifest(KIND, VERSION, self.shards.facts[0].settings, counts, {})

    @property
    def version(self) -> str:
        """That of the index that was cut."""
        return self.shards.facts[0].whole

    @property
    def page_count(self) -> int:
        """Pages of all shards; no page is in two."""
        return sum(shard.pages for shard in self.shards.facts)

    @property
    def row_count(self) -> int:
        """All rows, every one of which can be found."""
        return len(self)

    def __len__(self) -> int:
        return sum(shard.passages for shard in self.shards.facts)

    def alive(self, row: int) -> bool:
        """Whether there is such a row."""
        return 0 <= row < len(self)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """See `retriever.index.Snapshot.search`."""
        return merge_best(self._found("search", queries, k), k)

    def search_words(self, question: str, k: int) -> tuple[Vectors, Rows]:
        """See `retriever.index.Snapshot.search_words`."""
        return merge_best(self._found("search_words", question, k), k)

    def similarities(self, queries: Vectors, rows: Rows) -> Vectors:
        """Inner products (Q, K) of each query (Q, D) with the passages of its rows (Q, K)."""
        owners = self._owners(rows)
        asked = {
            shard: (queries, np.where(owners == shard, rows - self._first(shard), 0))
            for shard in np.unique(owners).tolist()
        }
        similarities = np.empty(rows.shape, dtype=np.float32)
        for shard, products in self.shards.ask("similarities", asked).items():
            here = owners == shard
            similarities[here] = products[here]
        return similarities

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in this order."""
        return self._of_rows("take", rows)

    def page_ids(self, rows: Sequence[int]) -> list[str]:
        """The pages that the passages of these rows are from, in this order."""
        return self._of_rows("page_ids", rows)

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, None where there is none."""
        found: list[Passage | None] = list(self._ask_all("find", passage_id).values())
        return next((passage for passage in found if passage is not None), None)

    def _of_rows(self, question: str, rows: Sequence[int]) -> list[Any]:
        """What each row's own shard says of it."""
        numbers = np.array(rows, dtype=np.int64)
        owners = self._owners(numbers)
        asked = {
            shard: ((numbers[owners == shard] - self._first(shard)).tolist(),)
            for shard in np.unique(owners).tolist()
        }
        found = {shard: iter(some) for shard, some in self.shards.ask(question, asked).items()}
        return [next(found[shard]) for shard in owners.tolist()]

    def _found(self, question: str, *arguments: Any) -> list[tuple[Vectors, Rows]]:
        return [
            (scores, rows + self._first(shard))
            for shard, (scores, rows) in self._ask_all(question, *arguments).items()
        ]

    def _ask_all(self, question: str, *arguments: Any) -> dict[int, Any]:
        return self.shards.ask(question, dict.fromkeys(range(len(self.shards.facts)), arguments))

    def _first(self, shard: int) -> int:
        return self.shards.facts[shard].first_row

    def _owners(self, rows: Rows) -> Rows:
        """The shard of each row."""
        firsts = [shard.first_row for shard in self.shards.facts]
        return np.searchsorted(firsts, rows, side="right") - 1


def merge_best(found: Sequence[tuple[Vectors, Rows]], k: int) -> tuple[Vectors, Rows]:
    """The `k` best of what parts found, best first; of equal scores the earlier row comes first.

    Args:
        found: of each part scores (..., K) and rows (..., K), best first; the rows of a part are
            all before those of the next one.
        k: how many; fewer where fewer were found.

    Returns:
        scores (..., k) and rows (..., k).
    """
    scores = np.concatenate([scores for scores, _ in found], axis=-1)
    rows = np.concatenate([rows for _, rows in found], axis=-1)
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(scores, order, -1), np.take_along_axis(rows, order, -1)
