"""Shards answer as the index that they were cut from, to the last bit."""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.building import KindWish, build_index
from retriever.errors import ArtefactMismatch, ArtefactMissing, QueryError
from retriever.index import Index, Snapshot
from retriever.passages import Page
from retriever.sharded import ShardedSnapshot, merge_best
from retriever.sharding import split_index
from retriever.shards import ShardFacts, read_shards
from retriever.updating import add_pages, compact, delete_pages
from tests.retriever.hash_encoder import HashEncoder
from tests.retriever.test_updating import build, page, source

WORDS = "salt river sugar pepper ocean mountain tea coffee bread butter".split()


def corpus(pages: int, seed: int = 0) -> list[Page]:
    """Pages of one to three passages, many of which share words and some of which are equal."""
    chance = random.Random(seed)
    sentences = [" ".join(chance.choices(WORDS, k=12)).capitalize() + "." for _ in range(40)]
    return [
        page(f"p{number}", " ".join(chance.choices(sentences, k=chance.choice([1, 1, 12, 24]))))
        for number in range(pages)
    ]


class LocalShards:
    """Shards in this process."""

    def __init__(self, directory: Path) -> None:
        shards = read_shards(directory)
        self.facts: list[ShardFacts] = [facts for _, facts in shards]
        self._snapshots = [Index(path).current() for path, _ in shards]

    def ask(self, question: str, arguments: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        return {
            shard: getattr(self._snapshots[shard], question)(*some)
            for shard, some in arguments.items()
        }


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """An index that pages were deleted from and added to after it was built."""
    directory = build(tmp_path_factory.mktemp("changed") / "index", corpus(60))
    delete_pages(directory, ["p3", "p29", "p30"])
    more = [page(f"new-{p.id}", p.text) for p in corpus(9, seed=1)]
    add_pages(directory, HashEncoder(), more, replace_pages=False)
    add_pages(directory, HashEncoder(), [page("p7", "Salt anew.")], replace_pages=True)
    return Index(directory).current()


@pytest.fixture(scope="module")
def sharded(changed: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> ShardedSnapshot:
    out = tmp_path_factory.mktemp("shards")
    split_index(changed.directory, 3, out)
    return ShardedSnapshot(str(out), LocalShards(out))


SCORES = st.lists(st.integers(0, 3), max_size=6).map(lambda some: sorted(some, reverse=True))


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(1, 12))
def test_merging_is_sorting_by_score_and_then_by_row(parts: list[list[int]], k: int) -> None:
    found, first = [], 0
    for part in parts:
        scores = np.array(part, dtype=np.float32)
        found.append((scores, np.arange(first, first + len(part))))
        first += len(part)
    pairs = [(-score, row) for part in found for score, row in zip(*part, strict=True)]
    expected = sorted(pairs)[:k]
    scores, rows = merge_best(found, k)
    assert [(-score, row) for score, row in zip(scores, rows, strict=True)] == expected
    batch = [(np.stack([scores, scores]), np.stack([rows, rows])) for scores, rows in found]
    for line in zip(*merge_best(batch, k), strict=True):
        np.testing.assert_array_equal(line, (scores, rows))


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), st.integers(1, 50))
def test_shards_find_what_the_whole_index_finds(
    changed: Snapshot, sharded: ShardedSnapshot, question: str, k: int
) -> None:
    queries = HashEncoder().encode_questions([question, f"{question}?"])
    scores, rows = sharded.search(queries, k)
    own_scores, own_rows = changed.search(queries, k)
    np.testing.assert_array_equal(scores, own_scores)
    for some, own in zip(rows.tolist(), own_rows.tolist(), strict=True):
        assert sharded.take(some) == changed.take(own)
    np.testing.assert_array_equal(sharded.similarities(queries, rows), scores)

    scores, rows = sharded.search_words(question, k)
    own_scores, own_rows = changed.search_words(question, k)
    np.testing.assert_array_equal(scores, own_scores)
    assert sharded.take(rows.tolist()) == changed.take(own_rows.tolist())


def test_shards_hold_each_passage_once_in_order(
    changed: Snapshot, sharded: ShardedSnapshot
) -> None:
    everything = changed.take(changed.live_rows().tolist())
    assert sharded.take(range(len(sharded))) == everything
    assert sharded.page_ids(range(len(sharded))) == [passage.page_id for passage in everything]
    assert [sharded.find(passage.id) for passage in everything] == everything
    assert sharded.find("p3:0") is None
    assert sharded.page_count == changed.page_count
    assert sharded.version == changed.version
    pages = [
        {passage.page_id for passage in sharded.take(range(f.first_row, f.first_row + f.passages))}
        for f in sharded.shards.facts
    ]
    assert all(pages)
    assert sum(map(len, pages)) == len(set().union(*pages))


def test_nothing_asked_for_is_nothing_found(sharded: ShardedSnapshot) -> None:
    scores, rows = sharded.search(HashEncoder().encode_questions([]), 3)
    assert scores.shape == rows.shape == (0, 3)
    assert sharded.take([]) == []
    assert sharded.search_words("unheard", 3)[1].shape == (0,)


def test_one_shard_has_the_bytes_of_the_compacted_index(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", corpus(20))
    delete_pages(directory, ["p3"])
    (shard,) = split_index(directory, 1, tmp_path / "shards")
    compact(directory)
    for name in ("passages.arrow", "pages.npy", "vectors.npy"):
        theirs = directory / "generation-000002" / name
        assert (shard / "generation-000001" / name).read_bytes() == theirs.read_bytes()


def test_shards_of_a_compressed_index_hold_its_vectors_as_they_are_stored(tmp_path: Path) -> None:
    build_index(source(corpus(60)), HashEncoder(), tmp_path / "index", kind=KindWish("SQ8"))
    whole = Index(tmp_path / "index").current()
    shards = split_index(tmp_path / "index", 2, tmp_path / "shards")
    parts = [Index(path).current().base for path in shards]
    assert [part.vectors.settings["factory"] for part in parts] == ["SQ8", "SQ8"]
    assert whole.base.stored.dtype == np.float16
    np.testing.assert_array_equal(
        np.concatenate([part.stored for part in parts]), whole.base.stored, strict=True
    )
    sharded = ShardedSnapshot("", LocalShards(tmp_path / "shards"))
    queries = HashEncoder().encode_questions(WORDS)
    np.testing.assert_array_equal(sharded.search(queries, 5), whole.search(queries, 5))


def test_a_stopped_cut_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", corpus(30))
    steps: list[str] = []
    split_index(directory, 2, tmp_path / "undisturbed", report=steps.append)
    for stop in range(len(steps)):
        left = [stop]

        def report(message: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            split_index(directory, 2, tmp_path / "stopped", report=report)
        split_index(directory, 2, tmp_path / "stopped")
        assert _contents(tmp_path / "stopped") == _contents(tmp_path / "undisturbed")
        shutil.rmtree(tmp_path / "stopped")


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_shards_that_are_there_stay_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", corpus(30))
    first, second, _ = split_index(directory, 3, tmp_path / "shards")
    before = _contents(tmp_path / "shards")
    times = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    (second / "manifest.json").write_text("{}")
    split_index(directory, 3, tmp_path / "shards")
    assert _contents(tmp_path / "shards") == before
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == times


def test_shards_of_another_cut_are_not_mixed(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", corpus(30))
    split_index(directory, 3, tmp_path / "shards")
    with pytest.raises(ArtefactMismatch, match="another"):
        split_index(directory, 2, tmp_path / "shards")
    (two,) = split_index(build(tmp_path / "other", corpus(5, seed=2)), 1, tmp_path / "others")
    two.rename(tmp_path / "shards" / "shard-003")
    with pytest.raises(ArtefactMismatch, match="different indexes"):
        read_shards(tmp_path / "shards")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", corpus(30))
    with pytest.raises(ArtefactMissing, match="shard 0"):
        read_shards(tmp_path / "shards")
    split_index(directory, 3, tmp_path / "shards")
    shutil.rmtree(tmp_path / "shards" / "shard-001")
    with pytest.raises(ArtefactMissing, match="shard 1"):
        read_shards(tmp_path / "shards")
    directory.rename(tmp_path / "shards" / "shard-001")
    with pytest.raises(ArtefactMismatch, match="no shard"):
        read_shards(tmp_path / "shards")


@pytest.mark.parametrize("shards", [0, 3])
def test_a_shard_holds_a_page_at_least(tmp_path: Path, shards: int) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt."), page("b", "Sugar.")])
    with pytest.raises(QueryError, match=f"into {shards} shards"):
        split_index(directory, shards, tmp_path / "shards")
