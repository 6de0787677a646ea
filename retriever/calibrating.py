"""How far approximate search must look: calibrated to exact search on a sample of questions.

What exact search answers to a sample of questions is found while the index is filled, so it costs
no pass of its own. The sample and its answers stay beside the index, to check it by.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import faiss
import numpy as np

from retriever.exact_vectors import ExactVectors, Rows, Vectors

NEIGHBOURS = 20
SAMPLE = 200  # questions: 4,000 neighbours, of which 0.99 has a standard error of about 0.002
MIXED = 3  # passages in a stand-in for a question
SEED = 4321
TARGET = 0.993  # above the 0.99 that is asked for: other questions are not the sample
CANDIDATES = (20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1280, 1920, 2560, 3840)
MOST_CANDIDATES = CANDIDATES[-1]
_ROW_NANOSECONDS = 3000  # to read and compare an exact vector: an estimate


class Searched(Protocol):
    """An approximate index with a sample of questions."""

    @property
    def code_nanoseconds(self) -> int:
        """To compare a code."""
        ...

    def efforts(self) -> Iterable[dict[str, int]]:
        """Search parameters from the least effort to the greatest."""
        ...

    def codes_compared(self, effort: Mapping[str, int]) -> float:
        """About how many codes a search of this effort compares."""
        ...

    def ranks_of_best(self, effort: Mapping[str, int], most: int) -> Rows:
        """The place (S, K) of each of the sample's exact best among the `most` first candidates."""
        ...


def stand_ins(exact: ExactVectors) -> Vectors:
    """Vectors (S, D) that stand for questions where none are given: sums of random passages.

    A passage as its own question is too easy. Its neighbours lie in few inverted lists; those of
    real questions, which are less like any passage, lie in many (benchmarks/index_kinds.py).
    """
    rows = np.random.default_rng(SEED).integers(len(exact), size=MIXED * SAMPLE)
    sums: Vectors = exact.take(rows).reshape(SAMPLE, MIXED, exact.dimension).sum(1)
    return sums


def best_in_block(questions: Vectors, block: Vectors, first: int) -> tuple[Rows, Vectors]:
    """Rows and inner products (S, K) of a block's vectors that are best for each question."""
    k = min(len(block), NEIGHBOURS)
    scores, places = faiss.knn(questions, block, k, metric=faiss.METRIC_INNER_PRODUCT)
    return places.astype(np.int64) + first, scores


def best_of(found: Sequence[Rows], scores: Sequence[Vectors]) -> Rows:
    """The best rows (S, K) of several blocks."""
    rows, products = np.concatenate(found, axis=1), np.concatenate(scores, axis=1)
    order = np.lexsort((rows, -products), axis=1)[:, :NEIGHBOURS]
    return np.take_along_axis(rows, order, axis=1)


def exact_best(exact: ExactVectors, questions: Vectors, parts: Sequence[Rows]) -> Rows:
    """The rows (S, K) of greatest inner product with each question, best first."""
    found = np.concatenate(parts, axis=1)
    best = np.empty((len(questions), min(NEIGHBOURS, len(exact))), np.int64)
    for place, (question, rows) in enumerate(zip(questions, found, strict=True)):
        products = exact.similarities(question, rows)
        best[place] = rows[np.lexsort((rows, -products))[: best.shape[1]]]
    return best


def recall(products: Vectors, best: Vectors) -> float:
    """The share of the exact best whose inner products were reached.

    Products are compared and not rows, so that equal passages may stand for each other.

    Args:
        products: of what was found for each question (S, K), best first, -inf where nothing was.
        best: of what exact search finds (S, K), best first.
    """
    reached = products[:, : best.shape[1]] >= best[:, -1:]
    return float(reached.mean())


def calibrate(index: Searched) -> dict[str, int]:
    """The cheapest search parameters that reach `TARGET` on the index's sample, else the best.

    Costs are estimates from constants and not clocks, so equal indexes get equal parameters.
    """
    options = []
    cheapest = float("inf")
    for effort in index.efforts():
        comparing = index.codes_compared(effort) * index.code_nanoseconds
        if comparing > cheapest:
            break
        candidates, share = _fewest(index.ranks_of_best(effort, MOST_CANDIDATES))
        cost = comparing + candidates * _ROW_NANOSECONDS
        if share >= TARGET:
            cheapest = min(cheapest, cost)
        options.append((min(share, TARGET), -cost, {**effort, "candidates": candidates}))
    return max(options, key=lambda option: option[:2])[2]


def _fewest(ranks: Rows) -> tuple[int, float]:
    """How many candidates hold `TARGET` of the exact best, and what share they do hold.

    Args:
        ranks: (S, K), the place of each of the exact best among the candidates.
    """
    for candidates in CANDIDATES:
        share = float((ranks < candidates).mean())
        if share >= TARGET:
            break
    return candidates, share
