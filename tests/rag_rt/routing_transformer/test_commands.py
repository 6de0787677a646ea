"""`rag-rt convert` and `rag-rt generate`, as a person runs them."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from rag_rt.models.routing_transformer import (
    RoutingTransformerForCausalLM,
    conversion,
    incremental,
)
from tests.conftest import run_rag_rt
from tests.rag_rt.routing_transformer.recorded import Recorded
from tests.rag_rt.routing_transformer.test_tokenization import SUBTOKENS

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
SAVE = """
import sys
import numpy as np
import tensorflow as tf
arrays = dict(np.load(sys.argv[1]))
arrays["global_step"] = np.int64(100000)
arrays["training/transformer/body/slot_var/Adam"] = np.zeros(3, np.float32)
tf.raw_ops.SaveV2(
    prefix=sys.argv[2],
    tensor_names=list(arrays),
    shape_and_slices=[""] * len(arrays),
    tensors=[tf.constant(array) for array in arrays.values()],
)
"""


@pytest.fixture
def fixture(recorded: Callable[[str], Recorded]) -> Recorded:
    return recorded("f2_cluster_strided")


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocabulary"
    path.write_text("".join(f"'{subtoken}'\n" for subtoken in SUBTOKENS))
    return path


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs TensorFlow (extra 'tf')")
def test_a_tensorflow_checkpoint_is_converted_and_compared(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "model.ckpt-100000"
    weights = fixture.folder / "weights.npz"
    subprocess.run([sys.executable, "-c", SAVE, weights, checkpoint], check=True)
    run = run_rag_rt(
        *("convert", "--checkpoint", str(checkpoint)),
        *("--hparams", str(fixture.folder / "hparams.json"), "--vocab", str(vocabulary)),
        *("--out", str(tmp_path / "model"), "--verify", "--json"),
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads(run.stdout)
    assert facts["variables"] == len(fixture.variables.shapes)
    assert facts["verified"]
    assert set(facts["ignored"]) == {
        "global_step",
        "training/transformer/body/slot_var/Adam",
    }


@pytest.mark.skipif(HAS_TENSORFLOW, reason="needs an environment without TensorFlow")
def test_without_tensorflow_the_extra_is_named(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.ckpt-1.index").touch()
    run = run_rag_rt(
        *("convert", "--checkpoint", str(tmp_path / "model.ckpt-1")),
        *("--hparams", str(fixture.folder / "hparams.json"), "--vocab", str(vocabulary)),
        *("--out", str(tmp_path / "model")),
    )
    assert run.returncode == 1
    assert "rag-rt[tf]" in run.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = run_rag_rt(
        *("convert", "--checkpoint", str(tmp_path / "model.ckpt-1")),
        *("--hparams", str(tmp_path / "hparams.json"), "--vocab", str(tmp_path / "vocabulary")),
        *("--out", str(tmp_path / "model")),
    )
    assert run.returncode == 2
    assert "hparams.json" in run.stderr


@pytest.fixture
def model(recorded: Callable[[str], Recorded], vocabulary: Path, tmp_path: Path) -> Path:
    fixture = recorded("k1_decode_greedy_prefix")
    conversion.convert(
        "model.ckpt-1",
        fixture.folder / "hparams.json",
        vocabulary,
        tmp_path / "model",
        variables=fixture.variables,
    )
    return tmp_path / "model"


@pytest.mark.parametrize("decoding", ["incremental", "exact"])
def test_a_text_is_continued_the_same_way_for_a_seed(model: Path, decoding: str) -> None:
    def continued(*options: str) -> str:
        run = run_rag_rt(
            *("generate", "--model", str(model), "--decoding", decoding),
            *("--max-tokens", "12", *options, "the hello"),
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith("the hello")
        return run.stdout

    assert continued("--seed", "1") == continued("--seed", "1")
    assert continued("--temperature", "0", "--seed", "1") == continued("--temperature", "0")


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_text_is_continued_with_fewer_bits(model: Path, precision: str) -> None:
    run = run_rag_rt("generate", "--model", str(model), "--precision", precision, "the hello")
    assert run.returncode == 0, run.stderr
    assert len(run.stdout) > len("the hello")


def test_a_text_may_fill_the_model_and_no_more(model: Path) -> None:
    """The model has 96 positions, of which the first reads no token of the text."""
    options = ("generate", "--model", str(model), "--temperature", "0")
    full = run_rag_rt(*options, " ".join(["the"] * 94))
    assert full.returncode == 0, full.stderr
    assert "room for 1 more" in full.stderr
    over = run_rag_rt(*options, " ".join(["the"] * 95))
    assert over.returncode == 2
    assert "95 tokens long" in over.stderr


def test_a_text_is_read_in_chunks_as_a_whole(model: Path) -> None:
    loaded: Any = RoutingTransformerForCausalLM.from_pretrained(model)
    ids = torch.randint(0, 97, (1, 60))
    told: list[tuple[int, int]] = []
    with patch.object(incremental, "CHUNK", 25):
        cache = incremental.read_in_chunks(
            loaded, ids[:, :-1], lambda done, total: told.append((done, total))
        )
    assert told == [(25, 59), (50, 59), (59, 59)]
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    found = loaded.generate(ids, past_key_values=cache, **options)
    assert found.tolist() == loaded.generate(ids, **options).tolist()


def test_an_empty_text_and_a_missing_model_are_errors(model: Path, tmp_path: Path) -> None:
    assert run_rag_rt("generate", "--model", str(model), " ").returncode == 2
    run = run_rag_rt("generate", "--model", str(tmp_path / "nothing"), "the")
    assert run.returncode == 1
    assert "rag-rt convert" in run.stderr
