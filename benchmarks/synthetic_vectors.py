"""Vectors that stand for a corpus of many millions, and whether they are as hard to search.

    python -m benchmarks.synthetic_vectors FOLDER --real chunk_*.npy --questions questions.npy

A synthetic vector is a real one plus a part of the difference of two neighbouring passages', scaled
to length 1. What is searched for are real questions. Printed is how hard they find it over the real
vectors and samples of them, and over as many synthetic ones made of a random sample of the real, of
which there are as few for each synthetic vector as where ten million are made of all.
"""

import argparse
from pathlib import Path

import faiss
import numpy as np

from retriever.ann_building import build_ann, one_thread
from retriever.ann_files import read_index
from retriever.calibrating import TARGET
from retriever.exact_vectors import ExactVectors, Rows, Vectors
from retriever.kinds import FaissIndex, named_kind

SPREAD = 1.0  # of the difference: harder than real vectors by every measure (docs/index-kinds.md)
SPREADS = (1.0, 0.7, 0.5, 0.35)
PARTS = (16, 4, 1)  # of the real vectors: how difficulty grows with their number
MADE = 10_000_000  # vectors of all real ones: the corpus that is to be stood for
BLOCK = 65_536
NEAREST = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where vectors and indexes are kept")
    parser.add_argument("--real", nargs="+", type=Path, required=True, help="files of vectors")
    parser.add_argument("--questions", type=Path, required=True, help="vectors of real questions")
    parser.add_argument("--dimension", type=int, help="of the vectors; by default the real")
    arguments = parser.parse_args()
    real, questions = projected(*loaded(arguments.real, arguments.questions), arguments.dimension)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(3)
    sampled = drawn.choice(len(real), len(real) ** 2 // MADE, replace=False)
    bases, others = drawn.choice(sampled, len(real)), drawn.integers(len(real) - 1, size=len(real))
    print(
        "| vectors | product with the 1st | 20th | local dimension (20) | (100) "
        "| relative contrast | bases of the 20 best | lists for 0.95 of them "
        f"| for {TARGET} | candidates for {TARGET} |"
    )
    print("|" + "---|" * 10)
    with one_thread():
        for part in PARTS:
            rows = np.sort(drawn.choice(len(real), len(real) // part, replace=False))
            path = arguments.folder / f"real-{len(rows)}-{real.shape[1]}.npy"
            np.save(path, real[rows].astype(np.float16))
            print_difficulty(f"real, {len(rows):,}", path, questions, rows)
        for spread in SPREADS:
            path = arguments.folder / f"synthetic-{spread}-{real.shape[1]}.npy"
            vectors = synthetic(real, bases, others, spread)
            np.save(path, vectors.astype(np.float16))
            print_difficulty(f"synthetic, {spread}", path, questions, bases)


def loaded(real: list[Path], questions: Path) -> tuple[Vectors, Vectors]:
    """Real vectors (N, D) and questions (Q, D)."""
    vectors = np.concatenate([np.load(path) for path in real]).astype(np.float32)
    return vectors, np.load(questions).astype(np.float32)


def projected(real: Vectors, questions: Vectors, dimension: int | None) -> tuple[Vectors, Vectors]:
    """Vectors and questions on the vectors' principal components, of unit length."""
    if dimension in (None, real.shape[1]):
        return real, questions
    _, axes = np.linalg.eigh(real.T @ real)
    axes = axes[:, -dimension:]
    return of_unit_length(real @ axes), of_unit_length(questions @ axes)


def synthetic(real: Vectors, bases: Rows, others: Rows, spread: float = SPREAD) -> Vectors:
    """A vector (n, D) for each of `bases` and each of `others` (n,), whose difference it takes."""
    differences = real[others] - real[others + 1]
    return of_unit_length(real[bases] + np.float32(spread) * differences)


def of_unit_length(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def synthesise(real: Vectors, count: int, path: Path) -> None:
    """Write synthetic vectors in blocks; those that are there stay."""
    shape = (count, real.shape[1])
    mode = "r+" if path.is_file() else "w+"
    target = np.lib.format.open_memmap(path, mode, np.float16, shape)
    for number, first in enumerate(range(0, count, BLOCK)):
        end = min(first + BLOCK, count)
        if not target[end - 1].any():
            drawn = np.random.default_rng([7, number])
            bases, others = drawn.integers(len(real) - 1, size=(2, end - first))
            target[first:end] = synthetic(real, bases, others)
    target.flush()


def print_difficulty(name: str, path: Path, questions: Vectors, bases: Rows) -> None:
    exact = ExactVectors(path)
    products, rows, mean = nearest(exact, questions)
    distances = np.sqrt(np.maximum(2 - 2 * products, 1e-9))
    contrast = np.sqrt(2 - 2 * mean) / distances[:, 19]
    best = rows[:, :20]
    index = built(path, questions)
    lists = lists_of_best(index, questions, exact.take(best.ravel()).reshape(*best.shape, -1))
    cells = [
        name, f"{products[:, 0].mean():.3f}", f"{products[:, 19].mean():.3f}",
        f"{local_dimension(distances[:, :20]):.1f}", f"{local_dimension(distances):.1f}",
        f"{contrast.mean():.3f}", f"{np.mean([len(set(bases[some])) for some in best]):.1f}",
        reaching(0.95, lists), reaching(TARGET, lists),
        reaching(TARGET, candidates_to_best(index, questions, best)),
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def nearest(exact: ExactVectors, questions: Vectors) -> tuple[Vectors, Rows, Vectors]:
    """The greatest products (Q, 100), their rows, and the mean product (Q,) with all vectors."""
    best = np.empty((len(questions), 0), np.float32)
    rows, sums = np.empty((len(questions), 0), np.int64), np.zeros(len(questions))
    for first, block in exact.blocks(BLOCK):
        products = questions @ block.T
        sums += products.sum(axis=1)
        found = np.argpartition(products, -NEAREST, axis=1)[:, -NEAREST:]
        best = np.hstack((best, np.take_along_axis(products, found, axis=1)))
        rows = np.hstack((rows, found + first))
        order = np.argsort(-best, axis=1)[:, :NEAREST]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return best, rows, (sums / len(exact)).astype(np.float32)


def local_dimension(distances: Vectors) -> float:
    """Median of the local intrinsic dimension at each question.

    Its maximum-likelihood estimate from the distances (Q, k) of the k nearest, Levina & Bickel
    2004, equation 8.
    """
    ratios = np.log(distances[:, -1:] / distances[:, :-1])
    return float(np.median(1 / ratios.mean(axis=1)))


def built(path: Path, questions: Vectors) -> FaissIndex:
    exact, folder = ExactVectors(path), path.with_suffix("")
    kind = named_kind("ivfpq", len(exact), exact.dimension)
    build_ann(path, kind, folder / "ann", work=folder / "work", questions=questions)
    return read_index(folder / "ann")


def lists_of_best(index: FaissIndex, questions: Vectors, best: Vectors) -> Rows:
    """How many lists are nearest until that of each of a question's best vectors (Q, K, D)."""
    inverted = faiss.extract_index_ivf(index)
    rotation = faiss.downcast_VectorTransform(index.chain.at(0))
    _, nearest_first = inverted.quantizer.search(rotation.apply(questions), inverted.nlist)
    _, own = inverted.quantizer.search(rotation.apply(best.reshape(-1, index.d)), 1)
    same = own.reshape(*best.shape[:2], 1) == nearest_first[:, None]
    return np.asarray(same.argmax(axis=2) + 1, np.int64)


def candidates_to_best(index: FaissIndex, questions: Vectors, best: Rows) -> Rows:
    """How many candidates are nearest by their codes until each of the best rows (Q, K)."""
    inverted = faiss.extract_index_ivf(index)
    inverted.nprobe = inverted.nlist
    _, found = index.search(questions, index.ntotal // 50)
    places = np.full(best.shape, index.ntotal, np.int64)
    for question, rows in enumerate(found):
        which, place = np.nonzero(best[question][:, None] == rows)
        places[question, which] = place + 1
    return places


def reaching(share: float, places: Rows) -> str:
    """The least place that a share of the places does not exceed."""
    return f"{int(np.quantile(places, share, method='inverted_cdf')):,}"


if __name__ == "__main__":
    main()
