import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retriever import ann_building
from retriever.ann_building import build_ann
from retriever.errors import ArtefactDamaged, IndexingError, QueryError
from retriever.exact_vectors import Vectors
from retriever.kinds import FLAT, named_kind
from retriever.vector_index import VectorIndex
from tests.conftest import small_disk

COMPRESSED = ["hnsw", "ivfpq", "sq", "binary", "IVF32,PQ8x4fs", "PQ8"]
DIMENSION = 16

BUILDER = """
import json, sys
from pathlib import Path
import numpy as np
from retriever import ann_building
from retriever.kinds import named_kind
ann_building.BLOCK, ann_building.SHARD, ann_building.MERGED_BYTES = 512, 1024, 20_000
ann_building.TRAINING = 1024
vectors, out, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
kind = named_kind(name, *np.load(vectors, mmap_mode="r").shape)
print("ready", flush=True)
settings = ann_building.build_ann(vectors, kind, out / "ann", work=out / "work")
(out / "settings.json").write_text(json.dumps(settings))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def clustered(count: int, dimension: int = DIMENSION, *, unit: bool = True) -> Vectors:
    """Vectors around 100 centres, each with its own spread, as topics of passages have them."""
    generator = np.random.default_rng(count)
    centres = generator.standard_normal((100, dimension))
    spread = generator.uniform(0.3, 1.0, (count, 1))
    vectors = centres[generator.integers(100, size=count)]
    vectors = vectors + spread * generator.standard_normal((count, dimension))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not unit:
        lengths = lengths / generator.uniform(5, 12, (count, 1))
    scaled: Vectors = (vectors / lengths).astype(np.float32)
    return scaled


def saved(vectors: Vectors, path: Path, dtype: Any = np.float16) -> Path:
    np.save(path, vectors.astype(dtype))
    return path


def built(name: str, vectors: Vectors, folder: Path) -> VectorIndex:
    kind = named_kind(name, *vectors.shape)
    path = saved(vectors, folder / "vectors.npy", kind.dtype)
    found = build_ann(path, kind, folder / "ann", work=folder / "work")
    return VectorIndex(folder / "ann", path, found)


def flat(vectors: Vectors, folder: Path) -> VectorIndex:
    path = saved(vectors, folder / "flat.npy", np.float32)
    return VectorIndex(folder, path, build_ann(path, FLAT, folder, work=folder / "work"))


def recall(
    index: VectorIndex, vectors: Vectors, queries: Vectors, dead: Sequence[int] = ()
) -> float:
    """Recall@20, where what is to be found is computed by numpy alone."""
    products = queries @ vectors.astype(np.float16).astype(np.float32).T
    products[:, dead] = -np.inf
    least = np.sort(products, axis=1)[:, -20][:, None]
    mask = np.isin(np.arange(len(vectors)), dead)
    return float((index.search(queries, 20, mask)[0] >= least - 1e-5).mean())


@pytest.fixture(scope="module", params=COMPRESSED)
def large(
    request: pytest.FixtureRequest, vectors: Vectors, tmp_path_factory: pytest.TempPathFactory
) -> VectorIndex:
    return built(request.param, vectors, tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return clustered(20_100)[20_000:]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(20_100)[:20_000]


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_exact_search_is_what_numpy_computes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count, dimension = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 9))
    k = data.draw(st.integers(1, 70))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    vectors = generator.integers(-3, 4, (count, dimension)).astype(np.float32)
    queries = generator.integers(-3, 4, (3, dimension)).astype(np.float32)
    dead = generator.random(count) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    index = flat(vectors, tmp_path_factory.mktemp("flat"))
    products, rows = index.search(queries, k, dead)
    expected = queries @ vectors.T
    expected[:, dead] = -np.inf
    best = -np.sort(-expected, axis=1)[:, :k]
    assert np.array_equal(products[:, : best.shape[1]], best)
    assert np.all(products[:, best.shape[1] :] == -np.inf)
    assert np.array_equal(rows == -1, products == -np.inf)
    for found in rows:
        there = found[found >= 0]
        assert len(set(there.tolist())) == len(there)
        assert not dead[there].any()
    assert np.array_equal(index.similarities(queries, rows), products)


def test_compressed_kinds_find_what_exact_search_finds(
    large: VectorIndex, vectors: Vectors, queries: Vectors
) -> None:
    assert large.settings["recall"] >= 0.99
    assert recall(large, vectors, queries) >= 0.98


def test_the_check_measures_what_was_measured_when_the_index_was_built(large: VectorIndex) -> None:
    assert large.check() == large.settings["recall"]
    assert f"{large.settings['recall']:.4f}" in large.describe()


def test_scores_are_exact_and_the_same_in_any_batch(large: VectorIndex, queries: Vectors) -> None:
    products, rows = large.search(queries, 7)
    assert np.array_equal(products, large.similarities(queries, rows))
    for place in range(0, len(queries), 9):
        alone = large.search(queries[place : place + 1], 7)
        assert np.array_equal(alone[0][0], products[place])
        assert np.array_equal(alone[1][0], rows[place])


def test_dead_rows_are_never_found_and_the_live_ones_are(
    large: VectorIndex, vectors: Vectors, queries: Vectors
) -> None:
    near = large.search(queries[:20], 60)[1]
    dead = np.zeros(len(large), np.bool_)
    dead[near.ravel()] = True  # whole neighbourhoods, as of a page that was deleted
    products, rows = large.search(queries[:20], 20, dead)
    assert np.all(rows >= 0)
    assert not dead[rows].any()
    assert np.all(np.diff(products, axis=1) <= 0)
    assert recall(large, vectors, queries[:20], np.flatnonzero(dead).tolist()) >= 0.9


def test_the_last_live_rows_are_found_wherever_they_are(
    large: VectorIndex, queries: Vectors
) -> None:
    dead = np.ones(len(large), np.bool_)
    alive = [3, 9_999, 19_998]
    dead[alive] = False
    products, rows = large.search(queries[:2], 5, dead)
    assert [sorted(found[:3].tolist()) for found in rows] == [alive, alive]
    assert np.all(rows[:, 3:] == -1)
    assert np.all(products[:, 3:] == -np.inf)


@pytest.mark.parametrize("name", COMPRESSED)
def test_vectors_of_any_length_are_found(name: str, tmp_path: Path) -> None:
    vectors = clustered(6_100, unit=False)
    index = built(name, vectors[:6_000], tmp_path)
    assert index.settings["recall"] >= 0.99
    assert recall(index, vectors[:6_000], vectors[6_000:]) >= 0.97


@pytest.mark.parametrize("name", ["hnsw", "ivfpq", "sq", "binary", "PQ8"])
@pytest.mark.parametrize("count", [1, 5, 300])
def test_a_tiny_corpus_is_indexed_by_any_kind(name: str, count: int, tmp_path: Path) -> None:
    vectors = clustered(count)
    index = built(name, vectors, tmp_path)
    assert index.check() == index.settings["recall"]
    _, rows = index.search(vectors, 3)
    assert np.array_equal(rows[:, 0], np.arange(count))
    assert np.count_nonzero(rows[0] >= 0) == min(3, count)


def test_more_lists_than_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=r"64 inverted lists .* 5 vectors"):
        built("IVF64,SQ8", clustered(5), tmp_path)


@pytest.mark.parametrize("name", ["flat", "sq", "hnsw"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(name: str, value: float, tmp_path: Path) -> None:
    vectors = clustered(3_000)
    vectors[1234, 5] = value
    with pytest.raises(IndexingError, match="vector 1234 "):
        built(name, vectors, tmp_path)


def test_bad_queries_are_refused(tmp_path: Path) -> None:
    index = flat(clustered(50), tmp_path)
    with pytest.raises(QueryError, match="shape"):
        index.search(np.zeros((1, 5), np.float32), 1)
    with pytest.raises(QueryError, match="at least 1"):
        index.search(np.zeros((1, DIMENSION), np.float32), 0)
    with pytest.raises(QueryError, match="NaN"):
        index.search(np.full((1, DIMENSION), np.nan, np.float32), 1)


@pytest.mark.parametrize("name", ["sq", "hnsw"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    index = built(name, clustered(500), tmp_path)
    files = [*(tmp_path / "ann").iterdir(), tmp_path / "vectors.npy"]
    assert len(files) == (6 if name == "sq" else 4)
    for path in files:
        content = path.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\0" * 100):
            path.write_bytes(damaged)
            with pytest.raises(ArtefactDamaged, match=path.name):
                VectorIndex(tmp_path / "ann", tmp_path / "vectors.npy", index.settings)
        path.write_bytes(content)
    VectorIndex(tmp_path / "ann", tmp_path / "vectors.npy", index.settings)


def test_an_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    index = built("sq", clustered(500), tmp_path)
    other = saved(clustered(499), tmp_path / "other.npy")
    with pytest.raises(ArtefactDamaged, match=r"other\.npy"):
        VectorIndex(tmp_path / "ann", other, index.settings)


@pytest.mark.parametrize("name", ["OPQ4_12,IVF16,PQ4x4", "hnsw"])
def test_a_build_killed_at_any_point_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    vectors = saved(clustered(4_500, 16), tmp_path / "vectors.npy")
    begun = time.perf_counter()
    with start_builder(vectors, tmp_path / "undisturbed", name, threads=1) as process:
        assert process.wait() == 0
    whole = time.perf_counter() - begun
    delays = random.Random(0)
    for threads in (1, 2, 1, 2):
        with start_builder(vectors, tmp_path / "killed", name, threads) as process:
            time.sleep(delays.uniform(0, whole))
            process.send_signal(signal.SIGKILL)
    with start_builder(vectors, tmp_path / "killed", name, threads=2) as process:
        assert process.wait() == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["IVF64,PQ8", "sq"])
def test_memory_of_building_does_not_grow_with_the_vectors(name: str, tmp_path: Path) -> None:
    counts, peaks = (10_000, 60_000), []
    for count in counts:
        vectors = saved(np.resize(clustered(10_000, 64), (count, 64)), tmp_path / f"{count}.npy")
        with start_builder(vectors, tmp_path / str(count), name, threads=1) as process:
            assert process.stdout is not None
            peaks.append(int(process.stdout.read().split()[-1]) * 1024)
    slope = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    mapped = 64 + 8  # codes and ids, which the calibration reads through their map
    assert slope < mapped + 32


def test_a_full_disk_is_told_and_the_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ann_building, "BLOCK", 512)
    monkeypatch.setattr(ann_building, "SHARD", 512)
    vectors = clustered(4_000)
    path = saved(vectors, tmp_path / "vectors.npy")
    for name, frees in (("sq", (2**13, 2**16, 2**17)), ("hnsw", (2**13, 2**17, 2**20))):
        kind = named_kind(name, *vectors.shape)
        build_ann(path, kind, tmp_path / name / "ann", work=tmp_path / name / "work")
        with small_disk(tmp_path / f"disk-{name}", "20m") as disk:
            filler = disk / "filler"
            for free in frees:
                filler.write_bytes(b"\0" * (room(disk) - free))
                with pytest.raises(OSError, match="No space left") as caught:
                    build_ann(path, kind, disk / "ann", work=disk / "work")
                assert caught.value.errno == errno.ENOSPC
                filler.unlink()
            build_ann(path, kind, disk / "ann", work=disk / "work")
            assert digests(disk / "ann") == digests(tmp_path / name / "ann")


def room(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_bsize


def start_builder(vectors: Path, out: Path, name: str, threads: int) -> "subprocess.Popen[str]":
    """A process that is about to build."""
    out.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(vectors), str(out), name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and "work" not in path.parts
    }


def test_faiss_is_left_with_its_threads(tmp_path: Path) -> None:
    before = faiss.omp_get_max_threads()
    built("sq", clustered(100), tmp_path)
    assert faiss.omp_get_max_threads() == before
