"""One order from two: what vectors say of candidates, what words say, and what pages they are from.

A convex combination of normalised scores says more than ranks do (Bruch et al. 2023, *An Analysis
of Fusion Functions for Hybrid Retrieval*). A page that has several good candidates is more likely
about the question than one with a single good one, so its passages gain by each other.
`benchmarks/hybrid.py` prints what each of this brings.

Glossary: C candidates.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CANDIDATES = 200  # of vectors, and of words; what is measured is flat from 100 to 400
# The next three lie in the middle of a plateau (benchmarks/hybrid.py).
WORDS = 0.3  # weight of words beside 1 for vectors
PAGE = 0.5  # weight of what the page's candidates have together
OF_PAGE = 5  # candidates of a page that count


def fuse(
    similarities: npt.NDArray[np.float32],
    word_scores: npt.NDArray[np.float32],
    pages: Sequence[str],
) -> Floats:
    """Fused scores (C,), greater is better; they say nothing across questions.

    Args:
        similarities: (C,) inner products with the question, the `CANDIDATES` greatest among them.
        word_scores: (C,) BM25, 0 where it is too small to be known.
        pages: (C) ids of the pages that the candidates are from.
    """
    if not len(similarities):
        return np.empty(0)
    nearest = np.sort(similarities.astype(np.float64))[-CANDIDATES:]
    spread = nearest[-1] - nearest[0]
    own = (similarities - nearest[0]) / (spread or 1) + WORDS * word_scores / (
        word_scores.max() or 1
    )
    fused: Floats = own + PAGE * _means_of_pages(own - own.min(), pages)
    return fused


def _means_of_pages(scores: Floats, pages: Sequence[str]) -> Floats:
    """For each candidate (C,) the mean of its page's `OF_PAGE` best scores, 0 for missing ones."""
    _, page = np.unique(np.array(pages), return_inverse=True)  # (C,)
    order = np.lexsort((-scores, page))  # page by page, best first
    begins = np.searchsorted(page[order], page[order])
    counted = order[np.arange(len(order)) - begins < OF_PAGE]
    means: Floats = np.bincount(page[counted], scores[counted])[page] / OF_PAGE
    return means
