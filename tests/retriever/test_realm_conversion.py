"""REALM's embedder from TensorFlow variables, made here under the names of its releases."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from rag_rt.models.routing_transformer.checkpoints import NumpyVariables
from retriever.errors import EncoderError
from retriever.named_encoders import open_encoder
from retriever.realm import RealmEmbedder
from retriever.realm_conversion import assign, convert, is_embedder, verify
from tests.conftest import run_rag_rt
from tests.tiny_models import bert_tokenizer

Arrays = dict[str, NDArray[Any]]
WIDTH, INNER, PROJECTED, LAYERS, POSITIONS = 64, 48, 8, 2, 40
PIECES = sorted(bert_tokenizer().get_vocab(), key=bert_tokenizer().get_vocab().__getitem__)
RELEASES = {  # root, what is before bert/, norm
    "published": ("module/module/", "module/module/module/", "LayerNorm"),
    "fine-tuned": ("module/module/module/", "module/module/module/module/", "LayerNorm"),
    "by the program": ("", "module/", "layer_normalization"),
    "in training": ("embedder/", "embedder/module/", "layer_normalization"),
}
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
SAVE = """
import sys
import numpy as np
import tensorflow as tf
arrays = dict(np.load(sys.argv[1]))
tf.raw_ops.SaveV2(
    prefix=sys.argv[2],
    tensor_names=list(arrays),
    shape_and_slices=[""] * len(arrays),
    tensors=[tf.constant(array) for array in arrays.values()],
)
"""


def embedder_arrays(release: str = "published") -> Arrays:
    """An embedder of random numbers, and beside it what training leaves in a checkpoint."""
    root, before, norm = RELEASES[release]
    layer = {
        **{f"attention/self/{name}/kernel": (WIDTH, WIDTH) for name in ("query", "key", "value")},
        **{f"attention/self/{name}/bias": (WIDTH,) for name in ("query", "key", "value")},
        "attention/output/dense/kernel": (WIDTH, WIDTH),
        "attention/output/dense/bias": (WIDTH,),
        "attention/output/LayerNorm/gamma": (WIDTH,),
        "attention/output/LayerNorm/beta": (WIDTH,),
        "intermediate/dense/kernel": (WIDTH, INNER),
        "intermediate/dense/bias": (INNER,),
        "output/dense/kernel": (INNER, WIDTH),
        "output/dense/bias": (WIDTH,),
        "output/LayerNorm/gamma": (WIDTH,),
        "output/LayerNorm/beta": (WIDTH,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"{before}bert/embeddings/word_embeddings": (len(PIECES), WIDTH),
        f"{before}bert/embeddings/position_embeddings": (POSITIONS, WIDTH),
        f"{before}bert/embeddings/token_type_embeddings": (2, WIDTH),
        f"{before}bert/embeddings/LayerNorm/gamma": (WIDTH,),
        f"{before}bert/embeddings/LayerNorm/beta": (WIDTH,),
        **{
            f"{before}bert/encoder/layer_{number}/{name}": shape
            for number in range(LAYERS)
            for name, shape in layer.items()
        },
        f"{before}bert/pooler/dense/kernel": (WIDTH, WIDTH),
        f"{before}bert/pooler/dense/bias": (WIDTH,),
        f"{before}cls/predictions/transform/dense/kernel": (WIDTH, WIDTH),
        f"{root}dense/kernel": (WIDTH, PROJECTED),
        f"{root}dense/bias": (PROJECTED,),
        f"{root}{norm}/gamma": (PROJECTED,),
        f"{root}{norm}/beta": (PROJECTED,),
        f"{root}dense/kernel/adam_m": (WIDTH, PROJECTED),
        "reader/module/bert/embeddings/word_embeddings": (len(PIECES), WIDTH),
        "reader/dense/kernel": (WIDTH, 12),
        "reader/dense_1/kernel": (6, 1),
        "bert/bert/embeddings/word_embeddings": (len(PIECES), WIDTH),
    }
    numbers = np.random.default_rng(0)
    arrays = {name: 0.2 * numbers.normal(size=shape) for name, shape in shapes.items()}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    return path


@pytest.mark.parametrize("release", RELEASES)
def test_vectors_are_those_that_the_variables_say(
    release: str, vocabulary: Path, tmp_path: Path
) -> None:
    arrays = embedder_arrays(release)
    found = convert(NumpyVariables(arrays), vocabulary, tmp_path / "model")
    verify(NumpyVariables(arrays), found, tmp_path / "model")
    encoder = open_encoder(f"realm:{tmp_path / 'model'}", precision="float32")
    question = "Why is the ocean salty?"
    ids = bert_tokenizer()(question)["input_ids"]
    np.testing.assert_allclose(
        encoder.encode_questions([question])[0], by_formula(arrays, release, ids), atol=1e-4
    )
    assert encoder.dimension == PROJECTED


def by_formula(arrays: Arrays, release: str, ids: list[int]) -> NDArray[np.float64]:
    """What the published program computes of a question, written in numpy."""
    root, before, norm = RELEASES[release]
    of = {name.removeprefix(f"{before}bert/"): array for name, array in arrays.items()}

    def dense(x: NDArray[Any], name: str) -> NDArray[Any]:
        product: NDArray[Any] = x @ of[f"{name}/kernel"] + of[f"{name}/bias"]
        return product

    def normed(x: NDArray[Any], name: str, eps: float = 1e-12) -> NDArray[Any]:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        scaled: NDArray[Any] = of[f"{name}/gamma"] * centred / deviation + of[f"{name}/beta"]
        return scaled

    tables = ("word", "position", "token_type")
    words, positions, types = (of[f"embeddings/{name}_embeddings"] for name in tables)
    x = normed(words[ids] + positions[: len(ids)] + types[0], "embeddings/LayerNorm")
    for number in range(LAYERS):
        scope = f"encoder/layer_{number}"
        query, key, value = (
            dense(x, f"{scope}/attention/self/{name}") for name in ("query", "key", "value")
        )
        weights = np.exp(query @ key.T / np.sqrt(64))  # one head of 64
        seen = weights / weights.sum(-1, keepdims=True) @ value
        x = normed(
            dense(seen, f"{scope}/attention/output/dense") + x,
            f"{scope}/attention/output/LayerNorm",
        )
        up = dense(x, f"{scope}/intermediate/dense")
        up = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        x = normed(dense(up, f"{scope}/output/dense") + x, f"{scope}/output/LayerNorm")
    pooled = np.tanh(dense(x[0], "pooler/dense"))
    vector: NDArray[np.float64] = normed(
        dense(pooled, f"{root}dense"), f"{root}{norm}", 1e-12 if norm == "LayerNorm" else 1e-3
    )
    return vector


def test_a_projection_without_a_norm_is_kept_so(vocabulary: Path, tmp_path: Path) -> None:
    arrays = {
        name: array
        for name, array in embedder_arrays().items()
        if not name.startswith("module/module/LayerNorm")
    }
    convert(NumpyVariables(arrays), vocabulary, tmp_path / "model")
    model = RealmEmbedder.from_pretrained(tmp_path / "model")
    assert isinstance(model.norm, torch.nn.Identity)
    assert open_encoder(f"realm:{tmp_path / 'model'}").encode_questions(["gold?"]).shape == (1, 8)


def test_the_embedder_is_found_among_other_models() -> None:
    arrays = embedder_arrays("in training")
    found = assign(NumpyVariables(arrays))
    assert all(source.startswith("embedder/") for source in found.sources.values())
    assert set(found.ignored) == {
        "embedder/module/cls/predictions/transform/dense/kernel",
        "embedder/dense/kernel/adam_m",
        "reader/module/bert/embeddings/word_embeddings",
        "reader/dense/kernel",
        "reader/dense_1/kernel",
        "bert/bert/embeddings/word_embeddings",
    }
    config = found.config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (64, 2, 48)
    assert (config.num_attention_heads, config.projection_size) == (1, PROJECTED)


def test_what_is_no_embedder_is_not_taken_for_one() -> None:
    arrays = embedder_arrays()
    assert is_embedder(NumpyVariables(arrays))
    del arrays["module/module/dense/kernel"]
    assert not is_embedder(NumpyVariables(arrays))
    with pytest.raises(EncoderError, match="found none"):
        assign(NumpyVariables(arrays))


def test_two_embedders_are_named() -> None:
    arrays: Arrays = {**embedder_arrays("in training"), **embedder_arrays("by the program")}
    with pytest.raises(EncoderError, match=r"found 2 \(.*embedder/"):
        assign(NumpyVariables(arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module/module/module/bert/pooler/dense/bias": None}, r"pooler/dense/bias: missing"),
        (
            {"module/module/module/bert/pooler/dense/bias": np.zeros(3, np.float32)},
            r"pooler/dense/bias: \(3,\), for \(64,\)",
        ),
        (
            {"module/module/module/bert/embeddings/position_embeddings": None},
            r"position_embeddings: missing",
        ),
    ],
)
def test_variables_that_do_not_fit_are_named(
    change: Mapping[str, NDArray[Any] | None], message: str
) -> None:
    arrays = {**embedder_arrays(), **change}
    kept = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(EncoderError, match=message):
        assign(NumpyVariables(kept))


def test_a_foreign_vocabulary_is_refused(vocabulary: Path, tmp_path: Path) -> None:
    with vocabulary.open("a") as file:
        file.write("more\n")
    with pytest.raises(EncoderError, match=r"pieces.*trained with.*vocab\.txt"):
        convert(NumpyVariables(embedder_arrays()), vocabulary, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_directory_that_is_there_stays(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(EncoderError, match="name a new directory"):
        convert(NumpyVariables(embedder_arrays()), vocabulary, tmp_path / "model")


def test_a_cased_vocabulary_makes_a_cased_tokenizer(vocabulary: Path, tmp_path: Path) -> None:
    vocabulary.write_text("".join(f"{p}\n" for p in [*PIECES[:-1], "Ocean"]), encoding="utf-8")
    convert(NumpyVariables(embedder_arrays()), vocabulary, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.tokenize("Ocean") == ["Ocean"]


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs TensorFlow (extra 'tf')")
def test_a_module_of_tensorflow_is_converted_by_the_command(
    vocabulary: Path, tmp_path: Path
) -> None:
    module = tmp_path / "module"
    for folder in ("variables", "assets"):
        (module / folder).mkdir(parents=True)
    vocabulary.rename(module / "assets" / "vocab.txt")
    np.savez(tmp_path / "arrays.npz", allow_pickle=False, **embedder_arrays())
    paths = (str(tmp_path / "arrays.npz"), str(module / "variables/variables"))
    subprocess.run([sys.executable, "-c", SAVE, *paths], check=True)
    out = tmp_path / "model"
    run = run_rag_rt(
        *("convert", "--checkpoint", str(module), "--out", str(out), "--verify", "--json")
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    assert facts["encoder"] == f"realm:{out}"
    assert facts["dimension"] == PROJECTED
    assert open_encoder(facts["encoder"]).encode_questions(["gold?"]).shape == (1, PROJECTED)
