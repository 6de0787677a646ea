"""Searching vectors by inner product: exactly, or by codes whose best are compared exactly.

A compressed index names candidates; their exact vectors are read from disk, and only those decide.
So scores are exact inner products whatever the kind, and equal to the last bit in any batch.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retriever import ann_files, calibrating
from retriever.ann_files import read_array, read_index
from retriever.errors import ArtefactDamaged, QueryError
from retriever.exact_vectors import ExactVectors, Rows, Vectors

_untyped: Any = faiss  # its types leave out what is used here

Dead = npt.NDArray[np.bool_]

SCAN = 65_536  # vectors compared at once by exact search
SPARE = 8  # products that tie but for rounding are told apart by the exact formula
_BATCH = 64  # queries; their products with a block take 16 MB


class VectorIndex:
    """Vectors on disk and, unless search is exact, an approximate index over them."""

    def __init__(self, directory: Path, vectors: Path, settings: Mapping[str, Any]) -> None:
        """Open an index.

        Args:
            directory: what `build_ann` wrote; may be absent for an exact kind.
            vectors: `vectors.npy`.
            settings: what `build_ann` returned.

        Raises:
            ArtefactDamaged: a file is missing, cut off, or does not belong to the others.
        """
        self.settings = settings
        self._exact = ExactVectors(vectors)
        self._ann = None
        if settings["factory"] != "Flat":
            self._ann = _Approximate(directory, self._exact)

    @property
    def dimension(self) -> int:
        """D of the vectors."""
        return self._exact.dimension

    def __len__(self) -> int:
        return len(self._exact)

    @property
    def resident_bytes(self) -> int:
        """Memory that searching holds: codes, ids and centroids, or all vectors where it is exact.

        It is computed from the settings; `benchmarks/index_kinds.py` measures it.
        """
        return int(self.settings["resident_bytes"])

    def describe(self) -> str:
        """Kind, parameters, recall and memory in a line."""
        parameters = ", ".join(f"{name} {n}" for name, n in self.settings["parameters"].items())
        return (
            f"{self.settings['kind']} ({self.settings['factory']}"
            f"{'; ' + parameters if parameters else ''}): recall@{calibrating.NEIGHBOURS} "
            f"{self.settings['recall']:.4f} when built, {self.resident_bytes / 1e6:,.0f} MB"
        )

    def search(self, queries: Vectors, k: int, dead: Dead | None = None) -> tuple[Vectors, Rows]:
        """The `k` live rows of greatest inner product with each query, best first.

        Args:
            queries: (Q, D).
            k: how many.
            dead: (N,), rows that must not be found.

        Returns:
            exact inner products (Q, k) and rows (Q, k); -inf and -1 where fewer rows are alive.

        Raises:
            QueryError: a query has another dimension or is not finite, or `k` is below 1.
        """
        queries = self._checked(queries, k)
        alive = len(self) - (0 if dead is None else int(np.count_nonzero(dead)))
        wanted = min(k, alive)
        products = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        if wanted:
            found = self._candidates(queries, wanted, dead)
            for place, (query, candidates) in enumerate(zip(queries, found, strict=True)):
                scores = self._exact.similarities(query, candidates)
                order = np.lexsort((candidates, -scores))[:wanted]
                products[place, :wanted], rows[place, :wanted] = scores[order], candidates[order]
        return products, rows

    def similarities(self, queries: Vectors, rows: Rows) -> Vectors:
        """Exact inner products (Q, K) of each query (Q, D) with its rows (Q, K); -inf for -1."""
        products = np.full(rows.shape, -np.inf, np.float32)
        for place, (query, some) in enumerate(zip(queries, rows, strict=True)):
            there = some >= 0
            products[place, there] = self._exact.similarities(query, some[there])
        return products

    def check(self) -> float:
        """Recall@20 on the sample of questions that was taken when the index was built."""
        if self._ann is None:
            return 1.0
        products, _ = self.search(self._ann.questions, calibrating.NEIGHBOURS)
        return calibrating.recall(products, self.similarities(self._ann.questions, self._ann.best))

    def calibrate(self) -> dict[str, int]:
        """The cheapest parameters that reach the recall that is aimed at; none for exact search."""
        return {} if self._ann is None else calibrating.calibrate(self._ann)

    def _checked(self, queries: Vectors, k: int) -> Vectors:
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise QueryError(
                f"queries have the shape {queries.shape}; expected (Q, {self.dimension})"
            )
        if k < 1:
            raise QueryError(f"{k} passages were asked for; expected at least 1")
        if not np.isfinite(queries).all():
            raise QueryError("a query's vector holds NaN or infinity; the encoder failed on it")
        return np.ascontiguousarray(queries, np.float32)

    def _candidates(self, queries: Vectors, wanted: int, dead: Dead | None) -> list[Rows]:
        if self._ann is None:
            return self._scan(queries, wanted, dead)
        parameters = dict(self.settings["parameters"])
        least = parameters.pop("candidates")
        count = max(least, -(-least * wanted // calibrating.NEIGHBOURS))
        found: list[Rows] = [np.empty(0, np.int64)] * len(queries)
        pending = list(range(len(queries)))
        for fetch, effort in self._ann.widening(count, parameters):
            nearest = self._ann.nearest(queries[pending], fetch, effort)
            for place, rows in zip(pending, nearest, strict=True):
                found[place] = _live(rows, dead)
            pending = [
                place
                for place, rows in zip(pending, nearest, strict=True)
                if not _enough(len(found[place]), wanted, count, rows)
            ]
            if not pending:
                return found
        for place, rows in zip(pending, self._scan(queries[pending], wanted, dead), strict=True):
            found[place] = rows
        return found

    def _scan(self, queries: Vectors, wanted: int, dead: Dead | None) -> list[Rows]:
        """The best live rows of each query, and a few more, by comparing all."""
        found: list[Rows] = []
        for first in range(0, len(queries), _BATCH):
            found.extend(self._scan_batch(queries[first : first + _BATCH], wanted + SPARE, dead))
        return found

    def _scan_batch(self, queries: Vectors, most: int, dead: Dead | None) -> list[Rows]:
        products = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for first, block in self._exact.views(SCAN):
            scores = queries @ block.T
            if dead is not None:
                scores[:, dead[first : first + len(block)]] = -np.inf
            places = _greatest(scores, most)
            products = np.hstack((products, np.take_along_axis(scores, places, 1)))
            rows = np.hstack((rows, places + first))
            kept = _greatest(products, most)
            products = np.take_along_axis(products, kept, 1)
            rows = np.take_along_axis(rows, kept, 1)
        return [_live(some, dead) for some in rows]


class _Approximate:
    """What FAISS holds: it names candidates, in the order of their approximate products."""

    def __init__(self, directory: Path, exact: ExactVectors) -> None:
        self._index = read_index(directory)
        ivf = faiss.try_extract_index_ivf(self._index)
        self._ivf = None if ivf is None else faiss.downcast_index(ivf)
        self._lists = 0 if ivf is None else ivf.nlist
        self._graph = isinstance(faiss.downcast_index(self._index), faiss.IndexHNSW)
        self.questions = read_array(directory / ann_files.SAMPLE_QUESTIONS)
        self.best = read_array(directory / ann_files.SAMPLE_BEST)
        if self._index.ntotal != len(exact) or self._index.d != exact.dimension:
            raise ArtefactDamaged(
                f"the index in {directory} holds {self._index.ntotal:,} vectors of "
                f"{self._index.d} dimensions, and {exact.path.name} {len(exact):,} of "
                f"{exact.dimension}; build the index anew"
            )

    def nearest(self, queries: Vectors, count: int, effort: Mapping[str, int]) -> Rows:
        """Rows (Q, count) of candidates, best first; -1 where the effort finds fewer."""
        count = min(count, self._index.ntotal)
        _, rows = self._index.search(queries, count, params=self._parameters(effort))
        return np.asarray(rows, np.int64)

    def _parameters(self, effort: Mapping[str, int]) -> Any:
        parameters: Any = None
        if self._lists:
            parameters = _untyped.SearchParametersIVF(nprobe=effort["nprobe"])
        elif self._graph:
            parameters = _untyped.SearchParametersHNSW(efSearch=effort["efSearch"])
        if parameters is not None and isinstance(self._index, faiss.IndexPreTransform):
            return _untyped.SearchParametersPreTransform(index_params=parameters)
        return parameters

    def efforts(self) -> Iterator[dict[str, int]]:
        """Search parameters from the least effort to the greatest."""
        if self._lists:
            yield from ({"nprobe": n} for n in _steps(1, self._lists))
        elif self._graph:
            yield from ({"efSearch": n} for n in _steps(32, calibrating.MOST_CANDIDATES))
        else:
            yield {}

    def widening(
        self, count: int, effort: Mapping[str, int]
    ) -> Iterator[tuple[int, dict[str, int]]]:
        """Candidates to ask for and parameters, ever more while it is cheaper than all vectors."""
        fetch, factor = count, 1
        while True:
            limit = self._lists or self._index.ntotal
            wider = {name: min(value * factor, limit) for name, value in effort.items()}
            if self._graph:
                wider = {"efSearch": max(wider["efSearch"], fetch)}
            yield fetch, wider
            fetch, factor = fetch * 2, factor * 2
            if fetch > max(calibrating.MOST_CANDIDATES, self._index.ntotal // 8):
                return

    @property
    def code_nanoseconds(self) -> int:
        """To compare a code, on one thread; measured by hand (docs/LOG.md)."""
        return 3 if isinstance(self._ivf, faiss.IndexIVFPQFastScan) else 17

    def codes_compared(self, effort: Mapping[str, int]) -> float:
        """About how many codes a search of this effort compares."""
        if self._lists:
            return float(self._lists + effort["nprobe"] * self._index.ntotal / self._lists)
        if self._graph:
            return 32.0 * effort["efSearch"]
        return float(self._index.ntotal)

    def ranks_of_best(self, effort: Mapping[str, int], most: int) -> npt.NDArray[np.int64]:
        """The place (S, K) of each of the sample's exact best among the candidates.

        It is `most` where it is not among the `most` first.
        """
        found = self.nearest(self.questions, min(most, effort.get("efSearch", most)), effort)
        ranks = np.full(self.best.shape, most, np.int64)
        for place, rows in enumerate(found):
            best, at = np.nonzero(self.best[place][:, None] == rows[None, :])
            ranks[place, best] = at
        return ranks


def _steps(first: int, last: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12 … from `first` up to `last`, which is among them."""
    step = first
    while step < last:
        yield step
        if step > 1 and step * 3 // 2 < last:
            yield step * 3 // 2
        step *= 2
    yield last


def _greatest(scores: Vectors, most: int) -> Rows:
    """Places (Q, at most `most`) of each line's greatest, in no order."""
    if scores.shape[1] <= most:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, -most, axis=1)[:, -most:]


def _live(rows: Rows, dead: Dead | None) -> Rows:
    rows = rows[rows >= 0]
    return rows if dead is None else rows[~dead[rows]]


def _enough(live: int, wanted: int, count: int, rows: Rows) -> bool:
    """Whether as many live candidates were found as without dead rows, or as there are to find."""
    return live >= count or (live >= wanted and bool(rows[-1] < 0))
