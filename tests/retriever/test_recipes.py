"""Pooling, prefixes and lengths: from a model's own files, or from the family of its name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from retriever.encoders import Encoder, TextEncoder
from retriever.errors import EncoderError
from retriever.named_encoders import open_encoder
from retriever.passages import Passage
from retriever.recipes import FAMILIES, Recipe, read_recipe
from tests.conftest import make_hit
from tests.tiny_models import bert_tokenizer, randomize, small_bert

BGE = "Represent this sentence for searching relevant passages: "
QUESTION = "Why is the ocean salty?"
PASSAGE: Passage = make_hit("Rivers carry dissolved salts into it.", title="Sea").passage


def make_bert(folder: Path) -> Path:
    model: Any = BertModel(BertConfig(**small_bert(len(bert_tokenizer()))))
    randomize(model, std=0.2)
    model.save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)
    return folder


def add_files(
    folder: Path,
    *,
    modules: tuple[str, ...] = ("models.Transformer", "models.Pooling", "models.Normalize"),
    pooling: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    length: int | None = 128,
) -> None:
    """What sentence-transformers writes beside the weights."""
    paths = [f"{n}_{name.rsplit('.', 1)[-1]}" if n else "" for n, name in enumerate(modules)]
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{name}"}
        for n, (name, path) in enumerate(zip(modules, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config or {}))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({} if length is None else {"max_seq_length": length})
    )


def plain_state(folder: Path, text: str) -> torch.Tensor:
    """The last hidden states (T, D) of one text."""
    model: Any = AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        states: torch.Tensor = model(
            **bert_tokenizer()(text, return_tensors="pt")
        ).last_hidden_state[0]
    return states


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("facebook/contriever-msmarco", FAMILIES["contriever"]),
        ("BAAI/bge-base-en-v1.5", FAMILIES["bge"]),
        ("BAAI/bge-small-en", FAMILIES["bge"]),
        ("BAAI/bge-small-zh-v1.5", Recipe()),
        ("intfloat/e5-small-v2", FAMILIES["e5"]),
        ("intfloat/multilingual-e5-base", FAMILIES["e5"]),
        ("intfloat/multilingual-e5-large-instruct", Recipe()),
        ("sentence-transformers/all-MiniLM-L6-v2", Recipe()),
        ("some/codebge-en", Recipe()),
    ],
)
def test_the_name_tells_the_family_where_there_are_no_files(
    tmp_path: Path, name: str, recipe: Recipe
) -> None:
    (tmp_path / name).mkdir(parents=True)
    assert read_recipe(str(tmp_path / name)) == recipe


def test_files_say_how_a_model_is_pooled(tmp_path: Path) -> None:
    add_files(tmp_path, pooling={"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    assert read_recipe(str(tmp_path)) == Recipe("cls", max_tokens=128)
    add_files(tmp_path, pooling={"pooling_mode": "mean"}, length=None)
    assert read_recipe(str(tmp_path)) == Recipe("mean", max_tokens=512)
    add_files(
        tmp_path,
        modules=("base.modules.Transformer", "modules.pooling.Pooling"),
        config={"similarity_fn_name": "dot", "prompts": {"query": "ask: ", "document": "say: "}},
    )
    assert read_recipe(str(tmp_path)) == Recipe("mean", False, "ask: ", "say: ", 128)


def test_a_family_adds_the_prefixes_that_files_leave_out(tmp_path: Path) -> None:
    folder = tmp_path / "bge-base-en-v1.5"
    folder.mkdir()
    add_files(folder, pooling={"pooling_mode_cls_token": True}, config={"prompts": {"query": ""}})
    assert read_recipe(str(folder)) == Recipe("cls", True, BGE, "", 128)


def test_a_named_family_comes_before_the_files(tmp_path: Path) -> None:
    add_files(tmp_path, pooling={"pooling_mode_mean_tokens": True})
    assert read_recipe(str(tmp_path), "bge") == Recipe("cls", True, BGE, "", 128)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pooling_mode_max_tokens"),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "mean, cls"),
        ({"modules": ("models.Transformer", "models.Pooling", "models.Dense")}, "module Dense"),
    ],
)
def test_what_is_not_known_here_is_an_error(
    tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    add_files(tmp_path, **files)
    with pytest.raises(EncoderError, match=message):
        read_recipe(str(tmp_path))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(EncoderError, match=r"modules\.json.*no JSON"):
        read_recipe(str(tmp_path))


@pytest.mark.parametrize("family", ["contriever", "bge", "e5"])
def test_vectors_follow_the_recipe(tmp_path: Path, family: str) -> None:
    """Against a plain computation of transformers."""
    folder = make_bert(tmp_path / "model")
    encoder = open_encoder(f"{family}:{folder}", precision="float32")
    question, passage = {
        "contriever": (QUESTION, "Sea\n" + PASSAGE.text),
        "bge": (BGE + QUESTION, "Sea\n" + PASSAGE.text),
        "e5": (f"query: {QUESTION}", f"passage: Sea\n{PASSAGE.text}"),
    }[family]
    for text, (vector,) in (
        (question, encoder.encode_questions([QUESTION])),
        (passage, encoder.encode_passages([PASSAGE])),
    ):
        state = plain_state(folder, text)
        expected = state[0] if family == "bge" else state.mean(0)
        if family != "contriever":
            expected = expected / expected.norm()
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
    assert encoder.cosine == (family != "contriever")
    assert encoder.name == f"{family}:{folder}"


def test_texts_are_compared_by_symmetric_encoders_alone(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "model")
    assert isinstance(open_encoder(str(folder)), Encoder)
    for family in FAMILIES:
        encoder = open_encoder(f"{family}:{folder}")
        assert isinstance(encoder, TextEncoder)
        assert not isinstance(encoder, Encoder)


def test_fingerprints_follow_what_makes_the_vectors(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "model")
    names = [str(folder), *(f"{family}:{folder}" for family in FAMILIES)]
    plain, contriever, bge, e5 = (open_encoder(name) for name in names)
    assert len({e.fingerprint for e in (plain, contriever, bge, e5)}) == 4
    assert plain.fingerprint == plain.question_fingerprint
    assert bge.fingerprint != bge.question_fingerprint
    exact = open_encoder(names[0], precision="float32")
    assert exact.fingerprint == plain.fingerprint
