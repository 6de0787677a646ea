"""Kinds of index: their names, their FAISS factory strings, their memory, and which to choose."""

from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retriever.errors import IndexingError

NAMES = ("flat", "hnsw", "ivfpq", "sq", "binary")
FLAT_BYTES = 256 * 1024**2  # scanned in about 50 ms by one thread: benchmarks/index_kinds.py
RECALL_TARGET = 0.99  # of the 20 best by exact search; parameters are calibrated to it
PART_DIMENSIONS = 6  # half a byte of product quantisation for each so many dimensions
CODED_DIMENSIONS = 3  # of a part's, after rotation: the rest varies least (docs/index-kinds.md)
ID_BYTES = 8  # FAISS numbers the members of inverted lists in 64 bits
HNSW_LINKS = 32
OPQ_FROM = 10_000  # vectors; FAISS asks for 39 times 256 to learn a rotation, else it is random
_SPARE_BYTES = 32 * 1024**2  # buffers of a search, and what is read beside the codes


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of index for a corpus of a certain size."""

    name: str
    """One of `NAMES`, or the factory string itself."""
    factory: str
    """FAISS factory string; "Flat" is exact search over `vectors.npy` without a FAISS file."""

    @property
    def exact(self) -> bool:
        """Whether all vectors are compared, which needs no file but theirs."""
        return self.factory == "Flat"

    @property
    def dtype(self) -> npt.DTypeLike:
        """Of the exact vectors on disk: float32 where they are all there is, float16 otherwise."""
        return np.dtype("<f4" if self.exact else "<f2")

    @property
    def expected_recall(self) -> float | None:
        """Recall@20 against exact search: what calibration aims at; None for a factory string."""
        if self.exact:
            return 1.0
        return RECALL_TARGET if self.name in NAMES else None

    def describe(self, passages: int, dimension: int) -> str:
        """A line: factory, memory and expected recall."""
        memory = resident_bytes(self, passages, dimension) / 1e6
        recall = self.expected_recall
        expected = "is measured when it is built" if recall is None else f"{recall:.2f} expected"
        return (
            f"{self.name} ({self.factory}): {memory:,.0f} MB for {passages:,} vectors of "
            f"{dimension} dimensions, recall@20 {expected}"
        )


FLAT = Kind("flat", "Flat")
FaissIndex = Any
"""A `faiss.Index`: its own types leave out most members of its kinds."""


def named_kind(name: str, passages: int, dimension: int) -> Kind:
    """A kind by its name, or by any FAISS factory string, for a corpus of this size.

    Raises:
        IndexingError: it is neither, or FAISS cannot search by inner product with it.
    """
    if name in ("flat", "Flat"):
        return FLAT
    kind = Kind(name, _factory(name, passages, dimension) if name in NAMES else name)
    empty_index(kind, dimension)
    return kind


def choose_kind(passages: int, dimension: int, memory_budget: int) -> Kind:
    """The kind for a corpus when nobody names one.

    Exact search while it is fast and fits; then the most precise codes that fit the budget.

    Args:
        passages: how many vectors.
        dimension: of each.
        memory_budget: bytes that searching may hold in memory beyond the encoder.

    Raises:
        IndexingError: not even the smallest kind fits; the message says what it needs.
    """
    flat = resident_bytes(FLAT, passages, dimension)
    if flat - _SPARE_BYTES <= FLAT_BYTES and flat <= memory_budget:
        return FLAT
    for name in ("sq", "ivfpq"):
        kind = named_kind(name, passages, dimension)
        needed = resident_bytes(kind, passages, dimension)
        if needed <= memory_budget:
            return kind
    raise IndexingError(
        f"{passages:,} vectors of {dimension} dimensions need {needed / 1e6:,.0f} MB of memory "
        f"even as ivfpq, and the budget is {memory_budget / 1e6:,.0f} MB; allow more, or name a "
        "FAISS factory string with smaller codes"
    )


def empty_index(kind: Kind, dimension: int) -> FaissIndex:
    """An untrained FAISS index of a kind, by inner product.

    Raises:
        IndexingError: FAISS does not know the factory string, or cannot make it for vectors of
            this dimension or by inner product.
    """
    try:
        return faiss.index_factory(dimension, kind.factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1]
        raise IndexingError(
            f"'{kind.factory}' is no kind of index for vectors of {dimension} dimensions compared "
            f"by inner product ({reason}); name {', '.join(NAMES)}, or a FAISS factory string"
        ) from None


def lists_for(passages: int) -> int:
    """Inverted lists for a corpus: a power of two near 1.3 times the square root of its size.

    A query then compares about as many centroids as codes, and a list has at least 39 members,
    which FAISS asks for to train (`ClusteringParameters.min_points_per_centroid`).
    """
    most = max(1.0, min(1.3 * sqrt(passages), passages / 39))
    return 1 << round(log2(most))


def resident_bytes(kind: Kind, passages: int, dimension: int) -> int:
    """Memory that a search holds: codes, ids, centroids or links, and some buffers.

    Exact vectors that only rescore do not count, since they stay on disk.
    """
    if kind.exact:
        return passages * dimension * 4 + _SPARE_BYTES
    index = empty_index(kind, dimension)
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        centroids = ivf.nlist * ivf.d * 4
        return int(passages * (ivf.code_size + ID_BYTES) + centroids + _SPARE_BYTES)
    inner: FaissIndex = faiss.downcast_index(index)
    if hasattr(inner, "hnsw"):
        links = 4 * (inner.hnsw.nb_neighbors(0) + 2) + 8
        return int(passages * (inner.storage.sa_code_size() + links) + _SPARE_BYTES)
    return int(passages * index.sa_code_size()) + _SPARE_BYTES


def _factory(name: str, passages: int, dimension: int) -> str:
    lists = lists_for(passages)
    inverted = f"IVF{lists}"
    if name == "hnsw":
        return f"HNSW{HNSW_LINKS},SQ8"
    if name == "sq":
        return f"{inverted},SQ8" if lists > 1 else "SQ8"
    if name == "binary":
        return f"RR{dimension},{inverted},RaBitQ"
    parts = _parts(dimension)
    if passages < OPQ_FROM:
        return f"RR{dimension // parts * parts},{inverted},PQ{parts}x4"
    coded = min(dimension // parts, CODED_DIMENSIONS) * parts
    return f"OPQ{parts}_{coded},{inverted},PQ{parts}x4"


def _parts(dimension: int) -> int:
    """Parts of a vector, half a byte each: one for 6 dimensions, at least 64 (or all)."""
    return min(dimension, max(64, dimension // PART_DIMENSIONS // 16 * 16))
