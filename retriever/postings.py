"""Building the arrays of a BM25 index in constant memory.

Passages are cut into shards, and each leaves its postings in files, sorted by term. Then the shards
are merged, one range of terms after the other, into arrays as bm25s keeps them: for each term the
passages that hold it, and what it adds to their scores (Lù 2024, *BM25S*). Terms are known by
hashes, so neither step holds a vocabulary.

Glossary: N passages, V terms, P postings (a term in a passage).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

from retriever.artefacts import atomic_write
from retriever.lexical_terms import Integers, Terms, tokenize_passages

Floats = npt.NDArray[np.float64]
SmallIntegers = npt.NDArray[np.int32]

K1, B = 1.5, 0.75
SHARD = 32_768  # passages tokenized at once: 200 MB where they have 100 words
RANGE = 2_000_000  # postings merged at once, and those of one frequent term more: 100 MB

SCORES = "data.csc.index.npy"  # this and the next two: names and layout of bm25s
ROWS = "indices.csc.index.npy"
STARTS = "indptr.csc.index.npy"
TERMS = "terms.npy"


class Postings(NamedTuple):
    """Terms, and the passages that hold them."""

    terms: Terms
    """(V,) ascending."""
    counts: Integers
    """(V,) in how many passages each is."""
    rows: SmallIntegers
    """(P,) those passages, term by term, ascending for each."""
    occurrences: SmallIntegers
    """(P,) how often the term is there."""
    lengths: SmallIntegers
    """(P,) how many terms the passage has, repetitions counted."""


class Shard:
    """The postings of consecutive passages, in a file of arrays one after the other."""

    def __init__(self, path: Path, first: int) -> None:
        """Map the file that `write_shard` wrote; `first` is the row of the first passage."""
        self._first = first
        self.lengths, self.terms, self._starts, self._rows, self._occurrences = _mapped(path)

    @property
    def size(self) -> int:
        """The number of its postings."""
        return len(self._rows)

    def between(self, low: int, high: int) -> Postings:
        """The postings of its terms `low` up to but not including `high`."""
        starts = self._starts[low : high + 1]
        rows = self._rows[starts[0] : starts[-1]]
        return Postings(
            self.terms[low:high],
            np.diff(starts),
            rows,
            self._occurrences[starts[0] : starts[-1]],
            self.lengths[rows - self._first],
        )


def write_shards(texts: Iterator[str], work: Path) -> list[Shard]:
    """Write the shards of texts into `work`; those that are there already are not made again."""
    work.mkdir(parents=True, exist_ok=True)
    paths = sorted(work.glob("*.shard"))
    unread = islice(texts, len(paths) * SHARD, None)
    while batch := list(islice(unread, SHARD)):
        paths.append(work / f"{len(paths):06d}.shard")
        write_shard(batch, (len(paths) - 1) * SHARD, paths[-1])
    return [Shard(path, number * SHARD) for number, path in enumerate(paths)]


def write_shard(texts: Sequence[str], first: int, path: Path) -> None:
    """Write the shard of texts, the first of which has row `first`."""
    lengths, places, terms = tokenize_passages(texts)
    owners = np.repeat(np.arange(len(texts)), lengths)
    postings, occurrences = np.unique(places * len(texts) + owners, return_counts=True)
    arrays = (
        lengths.astype(np.int32),
        terms,
        np.searchsorted(postings, np.arange(len(terms) + 1) * len(texts)),
        (postings % len(texts) + first).astype(np.int32),
        occurrences.astype(np.int32),
    )
    with atomic_write(path) as file:
        for array in arrays:
            npy.write_array(file, array, version=(1, 0), allow_pickle=False)


def _mapped(path: Path) -> Iterator[npt.NDArray[Any]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            array = np.memmap(path, dtype, "r", offset=file.tell(), shape=shape)
            file.seek(array.nbytes, 1)
            yield array


@dataclass(frozen=True, slots=True)
class Statistics:
    """What scores depend on beside the passage itself and how many passages hold a term."""

    passages: int
    mean_length: float

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> Self:
        """Those of all passages of some shards."""
        passages = sum(len(shard.lengths) for shard in shards)
        length = sum(int(shard.lengths.sum(dtype=np.int64)) for shard in shards)
        return cls(passages, length / max(1, passages))

    def rarity(self, counts: Integers) -> Floats:
        """Inverse frequencies (V,) of terms that so many passages (V,) hold.

        Lucene's form (Kamphuis et al. 2020, *Which BM25 do you mean?*), rounded as bm25s rounds.
        """
        rarity = np.log(1 + (self.passages - counts + 0.5) / (counts + 0.5))
        rounded: Floats = rarity.astype(np.float32).astype(np.float64)
        return rounded

    def saturation(self, occurrences: SmallIntegers, lengths: SmallIntegers) -> Floats:
        """What occurrences (P,) in passages of such lengths (P,) count for, below 1."""
        return occurrences / (occurrences + K1 * (1 - B + B * lengths / self.mean_length))


def merge_shards(
    shards: Sequence[Shard],
    directory: Path,
    statistics: Statistics,
    counts_elsewhere: Callable[[Terms], Integers] | None = None,
) -> None:
    """Write the arrays of an index from its shards.

    Args:
        shards: in the order of their passages.
        directory: where the arrays go.
        statistics: that scores are computed with.
        counts_elsewhere: how many passages hold terms (V,), where it is not those of the shards
            that count.
    """
    start = 0
    with (
        _ArrayFile(directory / SCORES, np.float32) as scores,
        _ArrayFile(directory / ROWS, np.int32) as rows,
        _ArrayFile(directory / STARTS, np.int64) as starts,
        _ArrayFile(directory / TERMS, np.uint64) as terms,
    ):
        for pieces in _ranges(shards):
            merged = _merge(pieces)
            counts = counts_elsewhere(merged.terms) if counts_elsewhere else merged.counts
            rarity = np.repeat(statistics.rarity(counts), merged.counts)
            scores.append(rarity * statistics.saturation(merged.occurrences, merged.lengths))
            rows.append(merged.rows)
            starts.append(start + np.cumsum(merged.counts) - merged.counts)
            terms.append(merged.terms)
            start += len(merged.rows)
        starts.append(np.array([start]))


def _ranges(shards: Sequence[Shard]) -> Iterator[list[Postings]]:
    """The postings of all shards, range by range of their terms."""
    ranges = 1 + sum(shard.size for shard in shards) // RANGE
    borders = np.array([2**64 * number // ranges for number in range(1, ranges)], np.uint64)
    cuts = [[0, *np.searchsorted(s.terms, borders).tolist(), len(s.terms)] for s in shards]
    for ends in zip(*map(pairwise, cuts), strict=True):
        yield [shard.between(*end) for shard, end in zip(shards, ends, strict=True)]


def _merge(pieces: Sequence[Postings]) -> Postings:
    """Postings of the same range of terms in consecutive shards, as one."""
    terms, places = np.unique(np.concatenate([p.terms for p in pieces]), return_inverse=True)
    counts = np.bincount(
        places, np.concatenate([p.counts for p in pieces]), minlength=len(terms)
    ).astype(np.int64)
    free = np.cumsum(counts) - counts  # (V,) where the next posting of each term goes
    columns = np.empty((3, int(counts.sum())), dtype=np.int32)
    before = 0
    for piece in pieces:
        own = places[before : before + len(piece.terms)]
        shift = free[own] - (np.cumsum(piece.counts) - piece.counts)
        goal = np.arange(len(piece.rows)) + np.repeat(shift, piece.counts)
        columns[:, goal] = piece.rows, piece.occurrences, piece.lengths
        free[own] += piece.counts
        before += len(piece.terms)
    return Postings(terms, counts, *columns)


class _ArrayFile:
    """A one-dimensional .npy file that is appended to; its header says how long when it closes."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._length = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()

    def append(self, values: npt.NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def _write_header(self) -> None:
        # numpy leaves room in a header for a length that grows.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)}
        npy.write_array_header_1_0(self._file, header)
