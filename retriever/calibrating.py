"""How far approximate search may look: calibrated to exact search on sampled passages.

Each sampled passage asks for the 20 others of greatest inner product with it. What exact search
answers is found while the index is filled, so it costs no pass of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import faiss
import numpy as np

from retriever.exact_vectors import ExactVectors, Rows, Vectors

NEIGHBOURS = 20
SAMPLE = 200  # passages: 4,000 neighbours, of which 0.99 has a standard error of about 0.002
SEED = 4321
TARGET = 0.995  # above the 0.99 that is asked for, since other questions are not the sample
CANDIDATES = (20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1280, 1920, 2560, 3840)
MOST_CANDIDATES = CANDIDATES[-1]
_ROW_NANOSECONDS = 3000  # to read and compare an exact vector: benchmarks/index_kinds.py
_CODE_NANOSECONDS = 12  # to compare a code


class Searched(Protocol):
    """An approximate index with a sample of its passages."""

    def efforts(self) -> Iterable[dict[str, int]]:
        """Search parameters from the least effort to the greatest."""
        ...

    def codes_compared(self, effort: Mapping[str, int]) -> float:
        """About how many codes a search of this effort compares."""
        ...

    def ranks_of_best(self, effort: Mapping[str, int], most: int) -> Rows:
        """The place (S, K) of each of the sample's exact best among the `most` first candidates."""
        ...


def sample_rows(count: int) -> Rows:
    """Rows of the sampled passages, ascending."""
    generator = np.random.default_rng(SEED)
    rows = generator.choice(count, min(count, SAMPLE), replace=False, shuffle=False)
    return np.sort(rows).astype(np.int64)


def best_in_block(questions: Vectors, block: Vectors, first: int) -> tuple[Rows, Vectors]:
    """Rows and inner products (S, K) of a block's vectors that are best for each question.

    One more than is asked for, since one of them may be the question itself.
    """
    k = min(len(block), NEIGHBOURS + 1)
    scores, places = faiss.knn(questions, block, k, metric=faiss.METRIC_INNER_PRODUCT)
    return places.astype(np.int64) + first, scores


def best_of(found: Sequence[Rows], scores: Sequence[Vectors]) -> Rows:
    """The best rows (S, K) of several blocks."""
    rows, products = np.concatenate(found, axis=1), np.concatenate(scores, axis=1)
    order = np.lexsort((rows, -products), axis=1)[:, : NEIGHBOURS + 1]
    return np.take_along_axis(rows, order, axis=1)


def exact_best(exact: ExactVectors, sample: Rows, parts: Sequence[Rows]) -> Rows:
    """The 20 others (S, K) of greatest inner product with each sampled passage, best first."""
    found = np.concatenate(parts, axis=1)
    width = min(NEIGHBOURS, len(exact) - 1)
    best = np.empty((len(sample), width), np.int64)
    for place, (row, question) in enumerate(zip(sample, exact.take(sample), strict=True)):
        others = found[place][found[place] != row]
        products = exact.similarities(question, others)
        best[place] = others[np.lexsort((others, -products))[:width]]
    return best


def recall(products: Vectors, best: Vectors) -> float:
    """The share of the exact best whose inner products were reached.

    Products are compared and not rows, so that equal passages may stand for each other.

    Args:
        products: of what was found for each question (S, K), best first, -inf where nothing was.
        best: of what exact search finds (S, K), best first.
    """
    if not best.size:
        return 1.0
    reached = products[:, : best.shape[1]] >= best[:, -1:]
    return float(reached.mean())


def calibrate(index: Searched) -> dict[str, int]:
    """The cheapest search parameters that reach `TARGET` on the index's sample, else the best.

    Costs are estimates from constants and not clocks, so equal indexes get equal parameters.
    """
    options = []
    cheapest = float("inf")
    for effort in index.efforts():
        comparing = index.codes_compared(effort) * _CODE_NANOSECONDS
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
        share = float((ranks < candidates).mean()) if ranks.size else 1.0
        if share >= TARGET:
            break
    return candidates, share
