import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from retriever.errors import EncoderError
from retriever.named_encoders import open_encoder
from retriever.trainable import TrainableEncoder
from retriever.training_data import Text
from tests.conftest import make_hit
from tests.retriever.training_setup import make_sentence_encoder
from tests.tiny_models import make_dpr, make_realm

QUESTIONS = ["Why is the ocean salty?", "gold?", "What are the units of life?"]
PASSAGES = [
    make_hit("Rivers carry dissolved salts into it.", title="Ocean").passage,
    make_hit("Gold is a metal.", title="Gold").passage,
    make_hit("Cells are the units of life. " * 3, title="").passage,
]


def sentence(family: str) -> Callable[[Path], str]:
    return lambda folder: family + make_sentence_encoder(folder)


FORMS = {
    "mean": sentence(""),
    "bge": sentence("bge:"),
    "e5": sentence("e5:"),
    "contriever": sentence("contriever:"),
    "dpr": make_dpr,
    "dpr, projected": lambda folder: make_dpr(folder, projection_dim=4),
    "realm": make_realm,
}


@pytest.mark.parametrize("form", FORMS)
def test_vectors_are_those_of_the_encoder_before_and_after_saving(
    tmp_path: Path, form: str
) -> None:
    name = FORMS[form](tmp_path / "start")
    trainable = TrainableEncoder(name, max_tokens=200)
    trainable.save(tmp_path / "saved")
    texts = [Text(p.title, p.text) for p in PASSAGES]
    with torch.no_grad():
        questions = trainable.question_vectors(QUESTIONS).numpy()
        passages = trainable.passage_vectors(texts).numpy()
    for named in (name, trainable.name_at(tmp_path / "saved")):
        encoder = open_encoder(named, "float32")
        assert encoder.cosine == trainable.cosine
        np.testing.assert_allclose(encoder.encode_questions(QUESTIONS), questions, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_passages(PASSAGES), passages, atol=1e-5)


def test_what_is_longer_than_the_limit_is_cut_off(tmp_path: Path) -> None:
    trainable = TrainableEncoder(make_sentence_encoder(tmp_path), max_tokens=12)
    with torch.no_grad():
        long, short = trainable.question_vectors(["a r " * 40, "a r a r a r a r a r"])
    torch.testing.assert_close(long, short)


def test_no_more_tokens_are_read_than_the_model_has_positions(tmp_path: Path) -> None:
    trainable = TrainableEncoder(make_realm(tmp_path), max_tokens=100_000)
    assert trainable.question_vectors(["a " * 1000]).shape == (1, 8)


def test_no_saved_file_is_pickled(tmp_path: Path) -> None:
    TrainableEncoder(make_realm(tmp_path / "start"), 32).save(tmp_path / "saved")
    endings = {path.suffix for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert endings <= {".safetensors", ".json", ".txt"}


def test_the_recipe_is_kept_as_sentence_transformers_keeps_it(tmp_path: Path) -> None:
    trainable = TrainableEncoder("e5:" + make_sentence_encoder(tmp_path / "start"), 32)
    trainable.save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config_sentence_transformers.json").read_text())
    assert config["prompts"] == {"query": "query: ", "document": "passage: "}


def test_half_a_pair_is_an_error() -> None:
    with pytest.raises(EncoderError, match="does not name two models"):
        TrainableEncoder("dpr:one", 32)
