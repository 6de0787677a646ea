import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retriever import postings
from retriever.errors import ArtefactDamaged
from retriever.lexical import SETTINGS, LexicalIndex
from retriever.lexical_terms import TITLE

WORDS = ["ocean", "salt", "gold", "Curie", "über", "naïve", "水素", "1984", "the", "of", "e", "-"]
some_words = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
some_texts = st.lists(st.builds("{}\n{}".format, some_words, some_words), min_size=1, max_size=30)
some_question = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=6).map(" ".join)


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Few texts make many shards and ranges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "SHARD", 10)
        patch.setattr(postings, "RANGE", 20)
        yield


def build(texts: Sequence[str], folder: Path, like: LexicalIndex | None = None) -> LexicalIndex:
    LexicalIndex.build(lambda: iter(texts), folder / "index", work=folder / "work", like=like)
    return LexicalIndex(folder / "index")


def scores_of_all(index: LexicalIndex, question: str) -> npt.NDArray[np.float32]:
    scores, rows = index.search(question, max(1, len(index)))
    every = np.zeros(len(index), dtype=np.float32)
    every[rows] = scores
    return every


def tokens_of_bm25s(texts: list[str]) -> Any:
    return bm25s.tokenize(texts, stopwords="english_plus", show_progress=False)


def scores_of_bm25s(texts: Sequence[str], question: str) -> npt.NDArray[np.float32]:
    """What bm25s makes of texts by itself, all of it in memory."""
    titled = [" ".join([text.split("\n")[0]] * (TITLE - 1) + [text]) for text in texts]
    own = bm25s.BM25()
    own.index(tokens_of_bm25s(titled), show_progress=False)
    (asked,) = bm25s.tokenize(
        [question], stopwords="english_plus", return_ids=False, show_progress=False
    )
    return np.asarray(own.get_scores_from_ids(own.get_tokens_ids(asked)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "index").iterdir()}


@settings(max_examples=25)
@given(texts=some_texts, question=some_question)
def test_scores_are_those_of_bm25s(texts: list[str], question: str) -> None:
    texts.append("ocean\n")  # bm25s cannot index texts without a word
    with TemporaryDirectory() as folder:
        found = scores_of_all(build(texts, Path(folder)), question)
    np.testing.assert_allclose(found, scores_of_bm25s(texts, question), rtol=1e-6)


@settings(max_examples=25)
@given(texts=some_texts, question=some_question, k=st.integers(1, 45), data=st.data())
def test_the_best_living_passages_are_found_in_order(
    texts: list[str], question: str, k: int, data: st.DataObject
) -> None:
    dead = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    with TemporaryDirectory() as folder:
        index = build(texts, Path(folder))
        every = np.where(dead, 0, scores_of_all(index, question))
        scores, rows = index.search(question, k, dead)
    best = sorted(np.flatnonzero(every), key=lambda row: (-every[row], row))[:k]
    assert rows.tolist() == best
    assert scores.tolist() == every[best].tolist()


@pytest.mark.parametrize("question", ["", "the of", "zirconium", "?!", "\ud800"])
def test_a_question_without_a_known_word_finds_nothing(question: str, tmp_path: Path) -> None:
    scores, rows = build(["the ocean", "of gold"], tmp_path).search(question, 5)
    assert (scores.tolist(), rows.tolist()) == ([], [])


@pytest.mark.parametrize("texts", [[], ["", "the"]])
def test_an_index_without_words_finds_nothing(texts: list[str], tmp_path: Path) -> None:
    index = build(texts, tmp_path)
    assert len(index) == len(texts)
    assert not len(index.search("ocean", 5)[0])


@settings(max_examples=25)
@given(texts=some_texts, later=some_texts, question=some_question)
def test_a_segment_scores_as_the_index_that_it_is_like(
    texts: list[str], later: list[str], question: str
) -> None:
    """A text has the score that it would have in the index."""
    texts += later
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        index = build(texts, Path(first))
        segment = build(later, Path(second), like=index)
        np.testing.assert_array_equal(
            scores_of_all(segment, question), scores_of_all(index, question)[-len(later) :]
        )


@settings(max_examples=25)
@given(texts=some_texts, stop=st.integers(0, 30))
def test_a_build_that_was_stopped_ends_with_the_same_bytes(texts: list[str], stop: int) -> None:
    class Stopped(Exception):
        pass

    def stopped() -> Iterator[str]:
        yield from texts[:stop]
        raise Stopped

    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        build(texts, Path(first))
        with pytest.raises(Stopped):
            LexicalIndex.build(stopped, Path(second, "index"), work=Path(second, "work"))
        build(texts, Path(second))
        assert contents(Path(first)) == contents(Path(second))


def test_a_whole_index_is_not_built_again(tmp_path: Path) -> None:
    build(["the ocean"], tmp_path)
    before = contents(tmp_path)
    build(["another text"], tmp_path)
    assert contents(tmp_path) == before


def test_memory_does_not_grow_with_the_number_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor with the vocabulary: each text has a word of its own."""
    monkeypatch.setattr(postings, "SHARD", 256)
    monkeypatch.setattr(postings, "RANGE", 8192)

    def peak(number: int) -> int:
        order = np.random.default_rng(0)
        words = (order.integers(0, 5000, size=50) for _ in range(number))
        texts = (
            f"only{row} " + " ".join(map(str, row_words)) for row, row_words in enumerate(words)
        )
        tracemalloc.start()
        LexicalIndex.build(lambda: texts, tmp_path / f"{number}", work=tmp_path / f"{number}.work")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few, many = peak(512), peak(4096)
    assert many < 1.1 * few


@pytest.mark.parametrize(
    "name", ["data.csc.index.npy", "indptr.csc.index.npy", "terms.npy", SETTINGS]
)
@pytest.mark.parametrize("harm", ["gone", "emptied", "cut", "another"])
def test_a_damaged_index_is_refused(name: str, harm: str, tmp_path: Path) -> None:
    build(["the ocean is salty", "gold"], tmp_path)
    path = tmp_path / "index" / name
    if harm == "gone":
        path.unlink()
    elif harm == "another" and path.suffix == ".npy":
        np.save(path, np.zeros(1, dtype=np.int64))
    else:
        path.write_bytes(path.read_bytes()[: {"emptied": 0, "cut": -1, "another": 5}[harm]])
    with pytest.raises(ArtefactDamaged, match=r"cannot be used.*index build"):
        LexicalIndex(tmp_path / "index")
