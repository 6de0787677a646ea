"""Building an approximate index: in constant memory, resumable, the same bytes whoever resumes it.

Stages, each kept in the work directory when it is done: the trained index; the vectors' codes, in
shards cut in the same places whatever happened before, together with what exact search finds in
each shard for a sample of questions; the shards merged into inverted lists on disk. Whatever FAISS
computes here it computes on one thread, since its sums depend on their number; blocks are spread
over threads instead.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retriever import ann_files, calibrating
from retriever.ann_files import inverted_file, read_array, write_index
from retriever.artefacts import atomic_save, atomic_write
from retriever.errors import ArtefactDamaged, IndexingError
from retriever.exact_vectors import ExactVectors, Rows, Vectors
from retriever.kinds import ID_BYTES, FaissIndex, Kind, empty_index, resident_bytes
from retriever.vector_index import VectorIndex

Report = Callable[[str], None]
Progress = Callable[[int, int], None]

BLOCK = 8192  # vectors that a thread computes at once: 12 MB of 384 dimensions
SHARD = 8 * BLOCK
TRAINING = 2**17  # vectors; 32 for each of the 4,096 lists of ten million
TRAINING_PER_LIST = 32
ROUNDS = 10  # of k-means over centroids; FAISS's own for inverted lists
SEED = 1234
MERGED_BYTES = 64 * 1024**2  # of codes and ids that merging holds at once


def build_ann(
    vectors: Path,
    kind: Kind,
    directory: Path,
    *,
    work: Path,
    questions: Vectors | None = None,
    report: Report = lambda message: None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Build the files that searching by `kind` needs, or finish them.

    Args:
        vectors: `vectors.npy` (N, D), of the kind's dtype.
        kind: what to build; of an exact kind the vectors are only checked.
        directory: where the files go; made where it is missing, not touched for an exact kind.
        work: state of a build that was stopped; the caller removes it at the end, and gives the
            same vectors and kind as long as it is there.
        questions: vectors (S, D) of questions like those that will be asked, some hundreds; the
            search is calibrated to them. Without them sums of passages stand for them.
        report: told in a sentence what each stage does.
        progress: told how many vectors are done.

    Returns:
        settings for `VectorIndex`, to be kept in the manifest: name, factory, search parameters,
        recall@20 as measured on the sample, and the memory that searching will hold.

    Raises:
        IndexingError: a vector is not finite, or there are too few for the kind.
        ArtefactDamaged: the vectors cannot be read.
        OSError: a disk is full; what is done stays done.
    """
    exact = ExactVectors(vectors)
    settings = {
        "kind": kind.name,
        "factory": kind.factory,
        "parameters": {},
        "recall": 1.0,
        "resident_bytes": resident_bytes(kind, len(exact), exact.dimension),
    }
    if kind.exact:
        for first, block in exact.blocks(BLOCK):
            progress(first + len(block), len(exact))
        return settings
    directory.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    with one_thread() as threads:
        index = _trained(exact, kind, work, report)
        if questions is None:
            questions = calibrating.stand_ins(exact)
        if inverted_file(index) is None:
            _fill_whole(index, exact, questions, directory, work, report, progress)
        else:
            _fill_shards(index, exact, questions, work, threads, report, progress)
            _merge(index, len(exact), directory, work, report)
        _write_sample(exact, questions, directory, work)
    report("Calibrating the search to exact search on a sample of questions")
    settings["parameters"] = VectorIndex(directory, vectors, settings).calibrate()
    settings["recall"] = VectorIndex(directory, vectors, settings).check()
    report(f"recall@20 against exact search: {settings['recall']:.4f}")
    return settings


@contextmanager
def one_thread() -> Iterator[int]:
    """FAISS on one thread; gives how many it had."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield threads
    finally:
        faiss.omp_set_num_threads(threads)


def _trained(exact: ExactVectors, kind: Kind, work: Path, report: Report) -> FaissIndex:
    path = work / "trained.faiss"
    if path.is_file():
        return faiss.read_index(str(path))
    index = empty_index(kind, exact.dimension)
    _shorten_training(index)
    sample = _training_vectors(exact, index)
    report(f"Training {kind.factory} on {len(sample):,} vectors")
    try:
        index.train(sample)
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1]
        raise IndexingError(
            f"'{kind.factory}' cannot be trained on {len(exact):,} vectors ({reason}); name a "
            "factory string with fewer lists or smaller codes, or the kind flat"
        ) from None
    write_index(index, path)
    return index


def _shorten_training(index: FaissIndex) -> None:
    """Let training go on for as long as it pays (benchmarks/index_kinds.py).

    FAISS would also order product codes so that near ones differ in few bits, by simulated
    annealing, which takes most of the time and serves a search that is not used here.
    """
    if isinstance(index, faiss.IndexPreTransform):
        for transform in _transforms(index):
            if isinstance(transform, faiss.OPQMatrix):
                transform.niter, transform.niter_pq_0, transform.niter_pq = 8, 8, 2
                transform.max_train_points = 2**14
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        _shorten(ivf.cp)
    quantised: FaissIndex = faiss.downcast_index(index if ivf is None else ivf)
    if hasattr(quantised, "do_polysemous_training"):
        _shorten(quantised.pq.cp)
        quantised.do_polysemous_training = False


def _transforms(index: FaissIndex) -> list[faiss.VectorTransform]:
    count = index.chain.size()
    return [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(count)]


def _shorten(clustering: faiss.ClusteringParameters) -> None:
    clustering.niter = ROUNDS
    clustering.seed = SEED
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = 256


def _training_vectors(exact: ExactVectors, index: faiss.Index) -> Vectors:
    """Sampled vectors in the order of their rows; repeated where codes need more than there are.

    A product quantiser of 8 bits asks for 256 vectors.
    """
    ivf = faiss.try_extract_index_ivf(index)
    lists = 0 if ivf is None else ivf.nlist
    if lists > len(exact):
        raise IndexingError(
            f"{lists:,} inverted lists cannot be trained on {len(exact):,} vectors; name a factory "
            "string with fewer lists, or a kind by its name, which chooses their number"
        )
    wanted = min(len(exact), max(TRAINING, TRAINING_PER_LIST * lists))
    rows = np.random.default_rng(SEED).choice(len(exact), wanted, replace=False, shuffle=False)
    rows.sort()
    sample = np.empty((wanted, exact.dimension), np.float32)
    for first in range(0, wanted, BLOCK):
        sample[first : first + BLOCK] = exact.take(rows[first : first + BLOCK])
    if not np.isfinite(sample).all():
        for _ in exact.blocks(BLOCK):  # finds the row and raises
            pass
    return np.resize(sample, (max(wanted, 256), exact.dimension))


def _shard_path(work: Path, first: int, part: str) -> Path:
    return work / f"shard-{first:012d}-{part}.npy"


def _fill_shards(
    index: FaissIndex,
    exact: ExactVectors,
    questions: Vectors,
    work: Path,
    threads: int,
    report: Report,
    progress: Progress,
) -> None:
    report(f"Encoding {len(exact):,} vectors")
    encoder = _BlockEncoder(index, exact, questions)
    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        for first in range(0, len(exact), SHARD):
            end = min(first + SHARD, len(exact))
            if not _shard_path(work, first, "sizes").is_file():
                _write_shard(encoder, range(first, end, BLOCK), pool, work)
            progress(end, len(exact))


class _BlockEncoder:
    """Lists and codes of the vectors of a block, and what exact search finds in it."""

    def __init__(self, index: FaissIndex, exact: ExactVectors, questions: Vectors) -> None:
        ivf = inverted_file(index)
        assert ivf is not None
        self.index, self.ivf, self.exact = index, ivf, exact
        self.questions = questions

    def __call__(self, first: int) -> tuple[Rows, npt.NDArray[np.uint8], Rows, Vectors]:
        end = min(first + BLOCK, len(self.exact))
        block = self.exact.finite_block(first, end)
        best = calibrating.best_in_block(self.questions, block, first)
        moved = block
        if isinstance(self.index, faiss.IndexPreTransform):
            for transform in _transforms(self.index):
                moved = transform.apply(moved)
        _, lists = self.ivf.quantizer.search(moved, 1)
        codes = np.empty((len(block), self.ivf.code_size), np.uint8)
        self.ivf.encode_vectors(
            len(block), faiss.swig_ptr(moved), faiss.swig_ptr(lists), faiss.swig_ptr(codes)
        )
        return lists[:, 0], codes, *best


def _write_shard(
    encoder: _BlockEncoder, blocks: range, pool: ThreadPoolExecutor, work: Path
) -> None:
    lists, codes, found, scores = zip(*pool.map(encoder, blocks), strict=True)
    members = np.concatenate(lists)
    order = np.argsort(members, kind="stable")
    first = blocks.start
    atomic_save(_shard_path(work, first, "codes"), np.concatenate(codes)[order])
    atomic_save(_shard_path(work, first, "rows"), order.astype(np.int64) + first)
    atomic_save(_shard_path(work, first, "best"), calibrating.best_of(found, scores))
    sizes = np.bincount(members, minlength=encoder.ivf.nlist).astype(np.uint64)
    atomic_save(_shard_path(work, first, "sizes"), sizes)


def _merge(index: FaissIndex, count: int, directory: Path, work: Path, report: Report) -> None:
    if (directory / ann_files.INDEX).is_file():
        return
    report("Merging the inverted lists")
    starts = range(0, count, SHARD)
    sizes = np.stack([read_array(_shard_path(work, first, "sizes")) for first in starts])
    ivf = inverted_file(index)
    assert ivf is not None
    with atomic_write(directory / ann_files.LISTS) as file:
        for some in _runs_of_lists(sizes.sum(0), ivf.code_size + ID_BYTES):
            for codes, rows in _merged(starts, sizes, some, work):
                file.write(codes.tobytes())
                file.write(rows.tobytes())
    atomic_save(directory / ann_files.SIZES, sizes.sum(0))
    write_index(index, directory / ann_files.INDEX)


def _runs_of_lists(sizes: npt.NDArray[np.uint64], entry_bytes: int) -> Iterator[slice]:
    """Runs of neighbouring lists that together fit into `MERGED_BYTES`, or a single list."""
    first, held = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if held and held + size * entry_bytes > MERGED_BYTES:
            yield slice(first, place)
            first, held = place, 0
        held += size * entry_bytes
    yield slice(first, len(sizes))


def _merged(
    starts: range, sizes: npt.NDArray[np.uint64], some: slice, work: Path
) -> Iterator[tuple[npt.NDArray[np.uint8], Rows]]:
    """Codes and rows of each of some lists, by ascending rows."""
    parts = []
    for first, shard_sizes in zip(starts, sizes, strict=True):
        begin = int(shard_sizes[: some.start].sum())
        length = int(shard_sizes[some].sum())
        codes, rows = (
            _read_slice(_shard_path(work, first, part), begin, length) for part in ("codes", "rows")
        )
        members = np.repeat(np.arange(some.start, some.stop), shard_sizes[some].astype(np.int64))
        parts.append((members, codes, rows))
    members, codes, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(members, kind="stable")
    ends = np.cumsum(np.bincount(members - some.start, minlength=some.stop - some.start))
    for chosen in np.split(order, ends[:-1]):
        yield codes[chosen], rows[chosen]


def _read_slice(path: Path, first: int, length: int) -> npt.NDArray[Any]:
    """Rows of an array on disk; read and not mapped, so that memory stays what it is."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        width = int(np.prod(shape[1:]))
        file.seek(first * width * dtype.itemsize, 1)
        flat = np.fromfile(file, dtype, length * width)
    if len(flat) != length * width:
        raise ArtefactDamaged(f"{path} is cut off; remove {path.parent} and build anew")
    return flat.reshape(length, *shape[1:])


def _fill_whole(
    index: FaissIndex,
    exact: ExactVectors,
    questions: Vectors,
    directory: Path,
    work: Path,
    report: Report,
    progress: Progress,
) -> None:
    """Add all vectors to an index that FAISS holds in memory as a whole, with safe points."""
    if (directory / ann_files.INDEX).is_file():
        return
    report(f"Adding {len(exact):,} vectors on one thread")
    index = _resumed(index, work)
    spacing = max(SHARD, -(-len(exact) // (8 * SHARD)) * SHARD)
    for first in range(index.ntotal, len(exact), SHARD):
        end = min(first + SHARD, len(exact))
        found, scores = [], []
        for begin in range(first, end, BLOCK):
            block = exact.finite_block(begin, min(begin + BLOCK, end))
            index.add(block)
            rows, products = calibrating.best_in_block(questions, block, begin)
            found.append(rows)
            scores.append(products)
            progress(begin + len(block), len(exact))
        atomic_save(_shard_path(work, first, "best"), calibrating.best_of(found, scores))
        if end % spacing == 0 and end < len(exact):
            _keep(index, work)
    write_index(index, directory / ann_files.INDEX)


def _keep(index: FaissIndex, work: Path) -> None:
    kept = sorted(work.glob("filled-*.faiss"))
    write_index(index, work / f"filled-{index.ntotal:012d}.faiss")
    for path in kept:
        path.unlink()


def _resumed(trained: FaissIndex, work: Path) -> FaissIndex:
    kept = sorted(work.glob("filled-*.faiss"))
    if not kept:
        return trained
    index = faiss.read_index(str(kept[-1]))
    graph: FaissIndex = faiss.downcast_index(index)
    if hasattr(graph, "hnsw"):
        for _ in range(graph.ntotal):  # the generator of levels is not kept in the file
            graph.hnsw.random_level()
    return index


def _write_sample(exact: ExactVectors, questions: Vectors, directory: Path, work: Path) -> None:
    parts = [read_array(_shard_path(work, first, "best")) for first in range(0, len(exact), SHARD)]
    best = calibrating.exact_best(exact, questions, parts)
    atomic_save(directory / ann_files.SAMPLE_QUESTIONS, questions)
    atomic_save(directory / ann_files.SAMPLE_BEST, best)
