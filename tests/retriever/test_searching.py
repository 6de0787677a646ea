from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from rag_rt.settings import Settings
from retriever import starter_pack
from retriever.encoders import Encoder
from retriever.errors import ArtefactMismatch, QueryError
from retriever.index import Index
from retriever.passages import MAX_PASSAGES
from retriever.searching import Retriever


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


@pytest.mark.parametrize("k", [0, -1, MAX_PASSAGES + 1, 10**6])
def test_a_number_of_passages_out_of_bounds_is_an_error(retriever: Retriever, k: int) -> None:
    with pytest.raises(QueryError, match=f"between 1 and {MAX_PASSAGES}"):
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
