"""BM25 over passages, from a memory map: nothing is loaded when it opens.

bm25s keeps for each term the passages that hold it and what it adds to their scores, so that a
search only adds up (Lù 2024, *BM25S*). Its arrays are built by `postings`, in constant memory.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bm25s import BM25

from retriever.artefacts import atomic_write
from retriever.errors import ArtefactDamaged
from retriever.lexical_terms import Integers, Terms, tokenize
from retriever.postings import TERMS, Statistics, merge_shards, write_shards
from retriever.vectors import Vectors

SETTINGS = "bm25.json"  # written last: an index without it is unfinished


class LexicalIndex:
    """Which passages share words with a question, and how much that says."""

    @staticmethod
    def build(
        texts: Callable[[], Iterator[str]],
        directory: Path,
        *,
        work: Path,
        like: "LexicalIndex | None" = None,
    ) -> None:
        """Build an index, or go on with one that was stopped; a whole one is left as it is.

        Memory does not grow with the number of texts, and equal texts give equal bytes, stopped or
        not.

        Args:
            texts: gives all passages from the first on: the title, a line break, the text.
            directory: where the index goes; it is made where it is not there.
            work: where parts are kept until the index is whole; the caller removes it.
            like: an index whose statistics scores are computed with, so that they can be compared
                with its own.
        """
        if (directory / SETTINGS).is_file():
            return
        directory.mkdir(parents=True, exist_ok=True)
        shards = write_shards(texts(), work)
        own = Statistics.of(shards)
        if like is None:
            merge_shards(shards, directory, own)
        else:
            merge_shards(shards, directory, like.statistics, like.counts)
        settings = {"passages": own.passages, "mean_length": own.mean_length}
        with atomic_write(directory / SETTINGS) as file:
            file.write(json.dumps(settings).encode())

    def __init__(self, directory: Path) -> None:
        """Open an index.

        Raises:
            ArtefactDamaged: a file is missing, is no such file, or does not fit the others.
        """
        self._bm25 = BM25()
        self._bm25.nonoccurrence_array = None  # which passages without a term score 0 do not need
        try:
            self.statistics = Statistics(**json.loads((directory / SETTINGS).read_bytes()))
            self._bm25.load_scores(directory, num_docs=self.statistics.passages, mmap=True)
            self._terms: Terms = np.load(directory / TERMS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise ArtefactDamaged(_unusable(directory, str(error))) from error
        scores = self._bm25.scores
        self._starts: Integers = scores["indptr"]
        if len(self._starts) != len(self._terms) + 1 or not (
            self._starts[-1] == len(scores["data"]) == len(scores["indices"])
        ):
            raise ArtefactDamaged(_unusable(directory, "its files do not fit each other"))

    def __len__(self) -> int:
        """The number of passages."""
        return self.statistics.passages

    def counts(self, terms: Terms) -> Integers:
        """How many passages hold each of some terms (V,)."""
        places, known = self._find(terms)
        return np.where(known, self._starts[places + known] - self._starts[places], 0)

    def search(
        self, question: str, k: int, dead: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Vectors, Integers]:
        """The passages that score best, best first; of equal ones the earlier comes first.

        Args:
            question: its words count as often as they stand there.
            k: at most this many; fewer where fewer passages hold a word of the question.
            dead: (N,) passages that are not to be found.

        Returns:
            scores (K,), all positive, and rows (K,).
        """
        _, places, terms = tokenize([question])
        found, known = self._find(terms)
        asked = found[places][known[places]]
        if not len(asked):
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        scores: Vectors = self._bm25.get_scores_from_ids(asked)
        if dead is not None:
            scores[dead] = 0
        rows = np.flatnonzero(scores)
        if len(rows) > k:
            least = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
            rows = rows[scores[rows] >= least]
        order = np.argsort(-scores[rows], kind="stable")[:k]
        return scores[rows[order]], rows[order]

    def _find(self, terms: Terms) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Places (V,) of terms in the index, and whether they are there (V,)."""
        places = np.searchsorted(self._terms, terms)
        known = places < len(self._terms)
        known[known] = self._terms[places[known]] == terms[known]
        return places, known


def _unusable(directory: Path, found: str) -> str:
    return (
        f"the word index at {directory} cannot be used: {found}; make the index anew with "
        "'rag-rt index build'"
    )
