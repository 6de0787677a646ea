"""Kinds of index at scale: memory, recall and milliseconds, beside exact search by FAISS.

    python -m benchmarks.index_kinds FOLDER --real chunk_*.npy --questions questions.npy
    python -m benchmarks.index_kinds FOLDER --real … --questions … --vectors 10000000
    python -m benchmarks.index_kinds FOLDER            # the table of all that was measured

Without --vectors the corpus is the real vectors themselves, with it vectors that are made of them
(`benchmarks/synthetic_vectors.py`); for fewer dimensions all are projected to the real ones'
principal components first. Questions are real, and an index is calibrated by others than those that
are searched. A part that was measured is not measured again; a build that was stopped goes on.
Searches are measured in a process of their own, whose memory before it opens the index is the
baseline; single queries run on one thread.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.machine import machine
from benchmarks.measuring import in_child
from benchmarks.synthetic_vectors import loaded, projected, synthesise
from retriever.ann_building import build_ann, one_thread
from retriever.exact_vectors import ExactVectors, Vectors
from retriever.kinds import FLAT, NAMES, named_kind
from retriever.vector_index import VectorIndex

KILT = 36_000_000
BLOCK = 65_536
QUERIES = 500
CALIBRATING = 200  # questions; the others are held out
NEIGHBOURS = 20
FAISS_FLAT = "faiss flat"  # the baseline: IndexFlatIP in memory
FLAT_LIMIT = 2**31  # bytes of float32 that the baseline may hold


def main() -> None:
    arguments = parsed()
    if arguments.child:
        print(json.dumps(searched(arguments.folder)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.real:
        corpus = prepared(arguments)
        kinds = arguments.kind or ([] if arguments.vectors else ["flat"]) + [*NAMES[1:]]
        for kind in [FAISS_FLAT, *kinds]:
            measure(corpus, kind)
    print_table(arguments.folder)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where vectors, indexes and figures are kept")
    parser.add_argument("--real", nargs="+", type=Path, help="files of real vectors, by rows")
    parser.add_argument("--questions", type=Path, help="vectors of real questions")
    parser.add_argument("--vectors", type=int, help="so many synthetic vectors")
    parser.add_argument("--dimension", type=int, help="of the vectors; by default the real")
    parser.add_argument("--kind", action="append", help="name or factory string; by default all")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepared(arguments: argparse.Namespace) -> Path:
    """A folder with vectors, held-out queries and their exact answers."""
    real, questions = loaded(arguments.real, arguments.questions)
    real, questions = projected(real, questions, arguments.dimension)
    name = "synthetic" if arguments.vectors else "real"
    corpus: Path = arguments.folder / f"{name}-{arguments.vectors or len(real)}-{real.shape[1]}"
    corpus.mkdir(exist_ok=True)
    if arguments.vectors:
        synthesise(real, arguments.vectors, corpus / "vectors.npy")
    else:
        write_blocks(real, corpus / "vectors.npy")
    calibrating, queries = np.split(questions[: CALIBRATING + QUERIES], [CALIBRATING])
    np.save(corpus / "calibrating.npy", calibrating)
    if not (corpus / "best.npy").is_file():
        np.save(corpus / "queries.npy", queries)
        np.save(corpus / "best.npy", exact_answers(ExactVectors(corpus / "vectors.npy"), queries))
    return corpus


def write_blocks(real: Vectors, path: Path) -> None:
    if not path.is_file():
        np.save(path, real.astype(np.float16))


def exact_answers(vectors: ExactVectors, queries: Vectors) -> Vectors:
    """The 20 greatest inner products (Q, 20) of all vectors, best first."""
    best = np.empty((len(queries), 0), np.float32)
    for _, block in vectors.blocks(BLOCK):
        k = min(NEIGHBOURS, len(block))
        scores, places = faiss.knn(queries, block, k, metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.einsum("qkd,qd->qk", block[places], queries)
        best = -np.sort(-np.hstack((best, scores)), axis=1)[:, :NEIGHBOURS]
    return best


def measure(corpus: Path, kind: str) -> None:
    """Build and search an index, unless the figures are there."""
    folder = corpus / kind.replace(",", "_").replace(" ", "-")
    result = folder / "result.json"
    exact = ExactVectors(corpus / "vectors.npy")
    if result.is_file() or (kind == FAISS_FLAT and len(exact) * exact.dimension * 4 > FLAT_LIMIT):
        return
    folder.mkdir(exist_ok=True)
    figures: dict[str, Any] = {"kind": kind, "corpus": corpus.name.split("-")[0]}
    figures |= {"count": len(exact), "dimension": exact.dimension, "machine": machine()}
    figures |= {} if kind == FAISS_FLAT else built(corpus, kind, folder)
    figures |= in_child("benchmarks.index_kinds", folder)
    result.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures), flush=True)


def built(corpus: Path, kind: str, folder: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    exact = ExactVectors(corpus / "vectors.npy")
    chosen = named_kind(kind, len(exact), exact.dimension)
    vectors = corpus / "vectors.npy"
    if chosen == FLAT:
        vectors = corpus / "exact.npy"
        np.save(vectors, np.load(corpus / "vectors.npy").astype(np.float32))
    settings = build_ann(
        vectors,
        chosen,
        folder / "ann",
        work=folder / "work",
        questions=np.load(corpus / "calibrating.npy"),
        report=lambda message: print(f"{time.perf_counter() - begun:7.0f} s {message}", flush=True),
    )
    seconds = time.perf_counter() - begun
    (folder / "settings.json").write_text(json.dumps(settings))
    files = [path for path in (folder / "ann").glob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return {"build_s": seconds, "bytes": size, "settings": settings}


def searched(folder: Path) -> dict[str, Any]:
    """Memory, recall and time of searching the index in a folder."""
    queries, best = np.load(folder.parent / "queries.npy"), np.load(folder.parent / "best.npy")
    faiss.knn(queries, queries, 1)  # libraries take their buffers at the first call
    before = memory_mib()
    search = opened(folder)
    with one_thread():
        milliseconds, computing, reached = [], [], []
        for query, least in zip(queries, best[:, -1], strict=True):
            begun, computed = time.perf_counter(), time.thread_time()
            products = search(query[None])
            milliseconds.append((time.perf_counter() - begun) * 1e3)
            computing.append((time.thread_time() - computed) * 1e3)
            reached.append(np.mean(products >= least - 1e-6))  # sums may differ in the last bit
    after = memory_mib()
    return {
        "resident_mib": {field: after[field] - before[field] for field in before},
        "recall": float(np.mean(reached)),
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "computing_p50_ms": float(np.percentile(computing, 50)),  # without waiting for others
        "computing_p99_ms": float(np.percentile(computing, 99)),
        "qps_1": throughput(search, queries, 1),
        "qps_8": throughput(search, queries, 8),
    }


def opened(folder: Path) -> Callable[[Vectors], Vectors]:
    """Inner products (Q, 20) of what an index finds, or FAISS's own flat one in memory."""
    if not (folder / "settings.json").is_file():
        exact = ExactVectors(folder.parent / "vectors.npy")
        flat = faiss.IndexFlatIP(exact.dimension)
        for _, block in exact.blocks(BLOCK):
            flat.add(block)
        return lambda queries: flat.search(queries, NEIGHBOURS)[0]
    settings = json.loads((folder / "settings.json").read_text())
    vectors = "exact.npy" if settings["kind"] == "flat" else "vectors.npy"
    index = VectorIndex(folder / "ann", folder.parent / vectors, settings)
    return lambda queries: index.search(queries, NEIGHBOURS)[0]


def throughput(search: Callable[[Vectors], Vectors], queries: Vectors, threads: int) -> float:
    """Single queries a second, asked by some threads."""

    def work(query: Vectors) -> None:
        search(query[None])

    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        begun = time.perf_counter()
        list(pool.map(work, queries))
        return len(queries) / (time.perf_counter() - begun)


def memory_mib() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile")}


def print_table(folder: Path) -> None:
    results = [json.loads(path.read_text()) for path in folder.glob("*/*/result.json")]
    results.sort(key=lambda row: (row["corpus"], row["dimension"], row["count"], row["kind"]))
    print(
        "| corpus | kind | N | D | build s | disk MB | RSS MiB (anon + file) | recall@20 "
        "| p50 ms | p99 ms | queries/s, 1 thread | 8 threads | |"
    )
    print("|" + "---|" * 13)
    for row in results:
        print(line(row, "measured"))
    for row in extrapolated(results):
        print(line(row, "extrapolated"))
    for name in sorted({row["machine"] for row in results}):
        print(f"\nmeasured on {name}")


def line(row: dict[str, Any], label: str) -> str:
    resident = row["resident_mib"]
    cells = [
        row["corpus"], row["kind"], f"{row['count']:,}", str(row["dimension"]),
        f"{row.get('build_s', 0):,.0f}", f"{row.get('bytes', 0) / 1e6:,.0f}",
        f"{resident['VmRSS']:,.0f} ({resident['RssAnon']:,.0f} + {resident['RssFile']:,.0f})",
        f"{row['recall']:.4f}" if "recall" in row else "",
        f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}",
        f"{row['qps_1']:.0f}" if "qps_1" in row else "",
        f"{row['qps_8']:.0f}" if "qps_8" in row else "", label,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def extrapolated(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What KILT's passages would take, by the slope between the two largest sizes of a kind."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in results:
        if row["corpus"] == "synthetic":
            groups.setdefault((row["kind"], row["dimension"]), []).append(row)
    for (kind, dimension), rows in groups.items():
        if len(rows) > 1:
            small, large = sorted(rows, key=lambda row: row["count"])[-2:]
            row = {"corpus": "KILT", "kind": kind, "count": KILT, "dimension": dimension}
            for name in ("build_s", "bytes", "p50_ms", "p99_ms"):
                row[name] = at_kilt(small, large, small.get(name, 0), large.get(name, 0))
            for name in ("qps_1", "qps_8"):
                row[name] = 1 / at_kilt(small, large, 1 / small[name], 1 / large[name])
            row["resident_mib"] = {
                field: at_kilt(small, large, small["resident_mib"][field], most)
                for field, most in large["resident_mib"].items()
            }
            yield row


def at_kilt(small: dict[str, Any], large: dict[str, Any], less: float, more: float) -> float:
    slope = (more - less) / (large["count"] - small["count"])
    return float(more + slope * (KILT - large["count"]))


if __name__ == "__main__":
    main()
