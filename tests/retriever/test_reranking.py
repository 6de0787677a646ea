from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification, BertModel

from retriever import reranking
from retriever.errors import EncoderError, QueryError
from retriever.passages import MAX_PASSAGES
from retriever.reranking import Reranker
from tests.conftest import make_hit
from tests.tiny_models import bert_tokenizer, randomize, small_bert

WORDS = ["salt", "ocean", "gold", "rivers", "cells"]


def make_reranker(folder: Path, num_labels: int = 1) -> Path:
    tokenizer = bert_tokenizer()
    options = {**small_bert(len(tokenizer)), "num_labels": num_labels}
    config = BertConfig(**options)
    model = BertForSequenceClassification(config)
    randomize(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def reranker(folder: Path) -> Reranker:
    return Reranker(str(folder))


@settings(max_examples=25)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join), max_size=40
    )
)
def test_every_hit_comes_back_once_by_the_score_that_its_pair_has_alone(
    reranker: Reranker, texts: list[str]
) -> None:
    hits = [make_hit(text, rank=rank) for rank, text in enumerate(texts, start=1)]
    ranked = reranker.rerank("why is the ocean salty?", hits)
    assert [hit.rank for hit in ranked] == list(range(1, len(hits) + 1))
    assert {hit.passage.id for hit in ranked} == {hit.passage.id for hit in hits}
    assert [h.score for h in ranked] == sorted((h.score for h in ranked), reverse=True)
    for hit in ranked[:3]:
        (alone,) = reranker.rerank("why is the ocean salty?", [hit])
        assert alone.score == pytest.approx(hit.score, abs=1e-4)
        assert hit.similarity == 0.9


def test_scores_are_the_logits_of_the_model(folder: Path, reranker: Reranker) -> None:
    model = BertForSequenceClassification.from_pretrained(folder).train(False)
    inputs = bert_tokenizer()("gold?", "Title\ngold is a metal", return_tensors="pt")
    with torch.inference_mode():
        (logits,) = model(**inputs).logits.tolist()
    (hit,) = reranker.rerank("gold?", [make_hit("gold is a metal")])
    assert [hit.score] == pytest.approx(logits, abs=1e-4)


def test_with_two_labels_the_score_is_the_odds_of_the_second(tmp_path: Path) -> None:
    folder = make_reranker(tmp_path, num_labels=2)
    model = BertForSequenceClassification.from_pretrained(folder).train(False)
    inputs = bert_tokenizer()("gold?", "Title\ngold is a metal", return_tensors="pt")
    with torch.inference_mode():
        ((no, yes),) = model(**inputs).logits.tolist()
    (hit,) = Reranker(str(folder)).rerank("gold?", [make_hit("gold is a metal")])
    assert hit.score == pytest.approx(yes - no, abs=1e-4)


def test_long_texts_are_cut_and_too_many_are_refused(
    reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "MAX_TOKENS", 16)
    first, second = reranker.rerank("gold?", [make_hit("salt " * 900), make_hit("salt " * 2000)])
    assert first.score == pytest.approx(second.score, abs=1e-5)
    with pytest.raises(QueryError, match=f"at most {MAX_PASSAGES}"):
        reranker.rerank("gold?", [make_hit("salt")] * (MAX_PASSAGES + 1))


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_reranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"cannot load.*RAG_RT_RERANKER"):
        Reranker(str(tmp_path / "nowhere"))
    with pytest.raises(EncoderError, match="3 labels"):
        Reranker(str(make_reranker(tmp_path / "three", num_labels=3)))
    tokenizer = bert_tokenizer()
    BertModel(BertConfig(**small_bert(len(tokenizer)))).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    with pytest.raises(EncoderError, match="name a cross-encoder"):
        Reranker(str(tmp_path / "encoder"))


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(
        BertForSequenceClassification.from_pretrained(folder).state_dict(),
        tmp_path / "pytorch_model.bin",
    )
    with pytest.raises(EncoderError, match="safetensors"):
        Reranker(str(tmp_path))
