"""Encoders of questions and passages: DPR's pair and REALM's embedder, on tiny models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder

from retriever.building import build_index
from retriever.encoders import DualEncoder, Encoder, Vectors
from retriever.errors import ArtefactMismatch, EncoderError
from retriever.index import Index
from retriever.named_encoders import open_encoder
from retriever.passages import Passage
from retriever.realm import RealmEmbedder
from retriever.searching import Retriever
from retriever.sources import open_source
from tests.conftest import make_hit
from tests.retriever.training_setup import make_sentence_encoder
from tests.tiny_models import make_dpr, make_realm, randomize

QUESTIONS = ["Why is the ocean salty?", "gold?", "Are cells units of life, and why is that so?"]
PASSAGES = [
    make_hit("Rivers carry dissolved salts into it. " * n, title=title).passage
    for n, title in ((1, "Ocean"), (2, "Sea water"), (40, "Salt"))
]


@pytest.fixture
def dpr(tmp_path: Path) -> DualEncoder:
    return open_encoder(make_dpr(tmp_path / "dpr"))


@pytest.fixture
def realm(tmp_path: Path) -> DualEncoder:
    return open_encoder(make_realm(tmp_path / "realm"))


def test_dpr_vectors_are_the_states_of_cls_of_segments_of_type_0(tmp_path: Path) -> None:
    """Against a plain computation, one text at a time."""
    dpr = open_encoder(make_dpr(tmp_path / "dpr"), precision="float32")
    for side, model_class, texts, vectors in (
        ("questions", DPRQuestionEncoder, [(q,) for q in QUESTIONS], questions_of(dpr)),
        (
            "passages",
            DPRContextEncoder,
            [(p.title, p.text) for p in PASSAGES],
            dpr.encode_passages(PASSAGES),
        ),
    ):
        folder = tmp_path / "dpr" / side
        bert = model_class.from_pretrained(folder).base_model.bert_model
        expected = [plain_state(folder, bert, text, 256, typed=False) for text in texts]
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_realm_vectors_are_normed_projections_of_the_pooled_state(tmp_path: Path) -> None:
    folder = tmp_path / "realm"
    realm = open_encoder(make_realm(folder), precision="float32")
    model: Any = RealmEmbedder.from_pretrained(folder)

    def project(segments: tuple[str, ...]) -> np.ndarray:
        state = torch.tensor(plain_state(folder, model.bert, segments, 288, typed=True))
        with torch.no_grad():
            pooled = torch.tanh(model.bert.pooler.dense(state))
            projected = pooled @ model.projection.weight.T + model.projection.bias
            centred = projected - projected.mean()
            normed = centred / (centred.pow(2).mean() + 1e-3).sqrt()
            vector: np.ndarray = (normed * model.norm.weight + model.norm.bias).numpy()
        return vector

    expected = [project((q,)) for q in QUESTIONS]
    np.testing.assert_allclose(questions_of(realm), expected, atol=1e-4)
    passages = realm.encode_passages(PASSAGES)
    np.testing.assert_allclose(passages, [project((p.title, p.text)) for p in PASSAGES], atol=1e-4)
    assert passages.shape == (3, 8)


def questions_of(encoder: DualEncoder) -> Vectors:
    return encoder.encode_questions(QUESTIONS)


def plain_state(
    folder: Path, bert: Any, segments: tuple[str, ...], length: int, *, typed: bool
) -> np.ndarray:
    """The last state of [CLS], of ids that are put together by hand."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pieces = [tokenizer.encode(s, add_special_tokens=False) for s in segments]
    pieces[-1] = pieces[-1][: length - 1 - len(pieces) - sum(map(len, pieces[:-1]))]
    ids, types = [tokenizer.cls_token_id], [0]
    for number, piece in enumerate(pieces):
        ids += [*piece, tokenizer.sep_token_id]
        types += [number if typed else 0] * (len(piece) + 1)
    with torch.no_grad():
        states = bert(
            input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])
        ).last_hidden_state
    state: np.ndarray = states[0, 0].numpy()
    return state


@pytest.mark.parametrize("make", [make_dpr, make_realm])
def test_bfloat16_gives_nearly_the_same_vectors(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    name = make(tmp_path / "model")
    exact, rounded = (open_encoder(name, p) for p in ("float32", "bfloat16"))
    assert exact.fingerprint == rounded.fingerprint
    for a, b in (
        (questions_of(exact), questions_of(rounded)),
        (exact.encode_passages(PASSAGES), rounded.encode_passages(PASSAGES)),
    ):
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() > 0.999


@pytest.mark.parametrize("make", [make_sentence_encoder, make_dpr, make_realm])
def test_int8_gives_vectors_of_its_own_that_are_near(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    """Each of the two sides; an index is searched by what built it, and by nothing else."""
    name = make(tmp_path / "model")
    exact, rounded = (open_encoder(name, p) for p in ("float32", "int8"))
    for a, b in (
        (questions_of(exact), questions_of(rounded)),
        (exact.encode_passages(PASSAGES), rounded.encode_passages(PASSAGES)),
    ):
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() > 0.99
        assert np.abs(a - b).max() > 1e-5  # it does round
    assert exact.fingerprint != rounded.fingerprint
    index = build(tmp_path, rounded)
    assert Retriever(index, open_encoder(name, "int8")).search("gold?", 1)
    with pytest.raises(ArtefactMismatch):
        Retriever(index, exact)


def test_int8_is_the_processors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(EncoderError, match=r"int8 on 'cuda'.*bfloat16"):
        open_encoder(make_realm(tmp_path / "realm"), "int8", "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"'cuda'.*name 'cpu'"):
        open_encoder(make_realm(tmp_path / "realm"), device="cuda")


@pytest.mark.parametrize("make", [make_dpr, make_realm])
def test_an_index_ranks_by_the_product_of_unscaled_vectors(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    encoder = open_encoder(make(tmp_path / "model"))
    index = build(tmp_path, encoder)
    assert index.manifest.settings["similarity"] == "inner product"
    assert index.manifest.settings["encoder"] == encoder.name
    found = Retriever(index, encoder).search_batch(QUESTIONS, 3, "dense")
    passages = index.current().take(range(3))
    products = questions_of(encoder) @ encoder.encode_passages(passages).T
    assert not np.allclose(np.linalg.norm(questions_of(encoder), axis=1), 1)
    for hits, row in zip(found, products, strict=True):
        assert [h.passage.id for h in hits] == [passages[i].id for i in np.argsort(-row)]
        np.testing.assert_allclose([h.score for h in hits], np.sort(row)[::-1], rtol=1e-4)


def build(tmp_path: Path, encoder: DualEncoder) -> Index:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(page_of(p)) + "\n" for p in PASSAGES))
    build_index(open_source("kilt", corpus), encoder, tmp_path / "index")
    return Index(tmp_path / "index")


def page_of(passage: Passage) -> dict[str, object]:
    text = [f"{passage.title}\n", passage.text[:60]]
    return {"wikipedia_id": passage.title, "wikipedia_title": passage.title, "text": text}


def test_an_index_is_refused_to_other_passage_models(
    tmp_path: Path, dpr: DualEncoder, realm: DualEncoder
) -> None:
    index = build(tmp_path, dpr)
    with pytest.raises(ArtefactMismatch, match=r"dpr:.*16-d.*realm:.*8-d"):
        Retriever(index, realm)
    folder = tmp_path / "dpr" / "passages"
    model = DPRContextEncoder.from_pretrained(folder)
    randomize(model, seed=7)
    model.save_pretrained(folder)
    with pytest.raises(ArtefactMismatch):
        Retriever(index, open_encoder(dpr.name))


def test_another_question_model_of_the_same_passages_is_welcome(
    tmp_path: Path, dpr: DualEncoder
) -> None:
    """RAG trains the question encoder on, over a fixed index."""
    index = build(tmp_path, dpr)
    make_dpr(tmp_path / "other")
    name = f"dpr:{tmp_path / 'other' / 'questions'},{tmp_path / 'dpr' / 'passages'}"
    assert Retriever(index, open_encoder(name)).search("gold?", 1)


def test_a_pair_of_unequal_dimensions_is_an_error(tmp_path: Path) -> None:
    make_dpr(tmp_path / "a")
    make_dpr(tmp_path / "b", projection_dim=4)
    with pytest.raises(EncoderError, match=r"questions have 4 dimensions, passages 16"):
        open_encoder(f"dpr:{tmp_path / 'b' / 'questions'},{tmp_path / 'a' / 'passages'}")


@pytest.mark.parametrize("name", ["dpr:", "dpr:one", "dpr:,two", "dpr:one,"])
def test_a_name_without_its_two_models_is_an_error(name: str) -> None:
    with pytest.raises(EncoderError, match=r"dpr:QUESTION_MODEL,PASSAGE_MODEL"):
        open_encoder(name)


@pytest.mark.parametrize("kind", ["realm", "dpr"])
def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    name = make_realm(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"safetensors.*refs/pr/N.*--local-dir"):
        open_encoder(name if kind == "realm" else f"dpr:{folder},{folder}")


def test_a_mean_pooled_encoder_needs_no_prefix() -> None:
    encoder = open_encoder("starter")
    assert isinstance(encoder, Encoder)
    assert encoder.cosine
