from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertConfig, BertModel

from rag_rt.settings import Settings
from retriever import starter_pack
from retriever.building import build_index
from retriever.encoders import Encoder
from retriever.errors import ArtefactMismatch, QueryError
from retriever.index import Index
from retriever.passages import MAX_PASSAGES, MOST_HITS, Hit, Page
from retriever.search_modes import SearchMode
from retriever.searching import Retriever
from retriever.sources import Source
from retriever.updating import delete_pages
from tests.retriever.hash_encoder import HashEncoder


@pytest.fixture(scope="module")
def index(settings: Settings) -> Index:
    return Index(settings.index_directory)


@pytest.fixture(scope="module")
def retriever(index: Index, encoder: Encoder) -> Retriever:
    return Retriever(index, encoder)


def test_search_is_exact(index: Index, encoder: Encoder) -> None:
    """Against a plain product over freshly encoded passages."""
    passages = index.current().take(range(512))
    vectors = encoder.encode_passages(passages)
    queries = encoder.encode(["Who painted it?", "a city in Asia"])
    scores, rows = index.current().search(queries, len(index.current()))
    for query, ranked, cosines in zip(queries, rows, scores, strict=True):
        found = dict(zip(ranked.tolist(), cosines.tolist(), strict=True))
        np.testing.assert_allclose([found[row] for row in range(512)], vectors @ query, atol=2e-3)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Why is the ocean salty?", "Ocean"),
        ("How do vaccines work?", "Vaccine"),
        ("Who discovered radium?", "Marie Curie"),
    ],
)
def test_a_question_finds_its_article(retriever: Retriever, question: str, title: str) -> None:
    hits = retriever.search(question, 8)
    assert title in {hit.passage.title for hit in hits}
    assert [hit.rank for hit in hits] == list(range(1, 9))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("k", [0, -1, MOST_HITS + 1, 10**6])
def test_a_number_of_passages_out_of_bounds_is_an_error(retriever: Retriever, k: int) -> None:
    with pytest.raises(QueryError, match=f"between 1 and {MOST_HITS}"):
        retriever.search("Why?", k)


def test_a_blank_question_is_an_error(retriever: Retriever) -> None:
    with pytest.raises(QueryError, match="empty"):
        retriever.search(" \n", 5)


def test_an_encoder_that_did_not_build_the_index_is_refused(index: Index, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(tmp_path)
    folder = starter_pack.locate(starter_pack.ENCODER).parent
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(ArtefactMismatch, match=r"384-d.*32-d.*RAG_RT_ENCODER"):
        Retriever(index, Encoder(str(tmp_path)))


WORDS = ["salt", "ocean", "gold", "river", "cell", "radium"]
MODES: tuple[SearchMode, ...] = ("dense", "bm25", "hybrid")
some_pages = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=250).map(" ".join), max_size=12
)
some_question = st.lists(st.sampled_from([*WORDS, "zirconium"]), min_size=1).map(" ".join)


def retriever_of(texts: list[str], folder: str) -> Retriever:
    pages = [Page(str(number), f"Page {number}", text, "") for number, text in enumerate(texts)]
    source = Source("test", "a test", "", False, lambda: iter([(p.id, p) for p in pages]))
    build_index(source, HashEncoder(), Path(folder))
    return Retriever(Index(Path(folder)), HashEncoder())


@hypothesis_settings(max_examples=15)
@given(texts=some_pages, question=some_question, k=st.integers(1, MAX_PASSAGES))
def test_every_mode_keeps_its_order_and_tells_the_true_similarity(
    texts: list[str], question: str, k: int
) -> None:
    texts.append("salt of the ocean")
    with TemporaryDirectory() as folder:
        retriever = retriever_of(texts, folder)
        found = {mode: retriever.search(question, k, mode) for mode in MODES}
    (query,) = HashEncoder().encode_questions([question])
    for mode, hits in found.items():
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert len({hit.passage.id for hit in hits}) == len(hits) <= k
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        for hit in hits:
            (vector,) = HashEncoder().encode_passages([hit.passage])
            assert hit.similarity == pytest.approx(float(vector @ query), abs=1e-5)
            assert mode != "dense" or hit.score == hit.similarity
            assert mode != "bm25" or set(question.split()) & set(hit.passage.text.split())
    assert len(found["hybrid"]) == len(found["dense"])


@hypothesis_settings(max_examples=10)
@given(texts=some_pages, question=some_question, deleted=st.sets(st.integers(0, 12).map(str)))
def test_no_mode_finds_what_was_deleted(texts: list[str], question: str, deleted: set[str]) -> None:
    texts.append("salt of the ocean")
    deleted &= {str(number) for number in range(len(texts))}
    with TemporaryDirectory() as folder:
        retriever = retriever_of(texts, folder)
        delete_pages(Path(folder), sorted(deleted))
        for mode in MODES:
            hits = retriever.search(question, MAX_PASSAGES, mode)
            assert not deleted & {hit.passage.page_id for hit in hits}


def test_questions_are_found_together_as_alone(retriever: Retriever) -> None:
    questions = ["Why is the ocean salty?", "Who discovered radium?", "zzzz"]
    for mode in MODES:
        together = retriever.search_batch(questions, 5, mode)
        for question, hits in zip(questions, together, strict=True):
            alone = retriever.search(question, 5, mode)
            assert [h.passage.id for h in alone] == [h.passage.id for h in hits]
    assert retriever.search_batch([], 5) == []


def test_a_mode_that_there_is_not_is_an_error(retriever: Retriever) -> None:
    with pytest.raises(QueryError, match=r"'sparse'.*dense, bm25 or hybrid"):
        retriever.search("Why?", 5, "sparse")  # type: ignore[arg-type]


class Shortest:
    """Likes passages the better the shorter they are."""

    name = "shortest"

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        ordered = sorted(hits, key=lambda hit: len(hit.passage.text))
        return [replace(h, score=-len(h.passage.text), rank=r) for r, h in enumerate(ordered, 1)]


def test_a_reranker_sees_more_than_is_given(tmp_path: Path) -> None:
    texts = ["salt " * (length + 1) for length in range(20)]
    retriever = retriever_of(texts, str(tmp_path / "index"))
    reranked = Retriever(retriever.index, HashEncoder(), reranker=Shortest())
    hits = reranked.search("salt", 3)
    assert [(hit.passage.page_id, hit.rank) for hit in hits] == [("0", 1), ("1", 2), ("2", 3)]
    assert reranked.settings["reranker"] == "shortest"
    assert retriever.settings["reranker"] is None
