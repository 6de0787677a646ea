"""What searching needs of an index, whether it lies on this machine or on a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from retriever.artefacts import Manifest
from retriever.exact_vectors import Rows, Vectors
from retriever.passages import Passage


class SearchableSnapshot(Protocol):
    """An index as it is at a moment; see `retriever.index.Snapshot`."""

    @property
    def directory(self) -> Path | str:
        """Where it is, for messages."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What it was made of."""
        ...

    @property
    def version(self) -> str:
        """Changes with every change of what a search can find."""
        ...

    @property
    def page_count(self) -> int:
        """Pages that the passages that can be found are from."""
        ...

    @property
    def row_count(self) -> int:
        """All rows, those of deleted passages too."""
        ...

    def __len__(self) -> int: ...

    def alive(self, row: int) -> bool:
        """Whether the passage of a row can be found."""
        ...

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Inner products (Q, K) and rows (Q, K) of the best passages for each query (Q, D)."""
        ...

    def search_words(self, question: str, k: int) -> tuple[Vectors, Rows]:
        """BM25 scores (K,) and rows (K,) of the best passages for a question."""
        ...

    def similarities(self, queries: Vectors, rows: Rows) -> Vectors:
        """Inner products (Q, K) of each query (Q, D) with the passages of its rows (Q, K)."""
        ...

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in this order."""
        ...

    def page_ids(self, rows: Sequence[int]) -> list[str]:
        """The pages that the passages of these rows are from, in this order."""
        ...

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, None where there is none or it was deleted."""
        ...


class SearchableIndex(Protocol):
    """An index that follows what becomes of it; see `retriever.index.Index`."""

    @property
    def directory(self) -> Path | str:
        """Where it is, for messages."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What it was made of."""
        ...

    def current(self) -> SearchableSnapshot:
        """The index as it is now."""
        ...
