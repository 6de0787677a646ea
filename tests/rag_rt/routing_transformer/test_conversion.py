"""A checkpoint becomes a model directory, with every variable accounted for."""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rag_rt.models.routing_transformer import (
    CheckpointError,
    InputError,
    RoutingTransformerForCausalLM,
    conversion,
)
from rag_rt.models.routing_transformer.checkpoints import NumpyVariables, TensorFlowCheckpoint
from rag_rt.models.routing_transformer.naming import ffn_layer, is_ignored, target_of
from retriever.errors import ArtefactDamaged
from tests.conftest import small_disk
from tests.rag_rt.routing_transformer.recorded import Recorded
from tests.rag_rt.routing_transformer.test_tokenization import SUBTOKENS

Find = Callable[[str], Recorded]
BODY = "sparse_transformer/body"


@pytest.fixture
def fixture(recorded: Find) -> Recorded:
    return recorded("f2_cluster_strided")


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocabulary"
    path.write_text("".join(f"'{subtoken}'\n" for subtoken in SUBTOKENS))
    return path


def changed(fixture: Recorded, **arrays: Any) -> NumpyVariables:
    """The fixture's variables with some added, replaced, or (None) removed."""
    merged = {**dict(np.load(fixture.folder / "weights.npz")), **arrays}
    return NumpyVariables({name: array for name, array in merged.items() if array is not None})


def convert(fixture: Recorded, vocabulary: Path, directory: Path) -> conversion.Assignment:
    return conversion.convert(
        "model.ckpt-100000",
        fixture.folder / "hparams.json",
        vocabulary,
        directory,
        variables=fixture.variables,
    )


def test_a_converted_model_computes_what_the_checkpoint_did(
    fixture: Recorded, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SHARD_BYTES", 100_000)  # several shards
    assignment = convert(fixture, vocabulary, tmp_path / "model")
    conversion.verify(fixture.variables, assignment, tmp_path / "model")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert isinstance(model, RoutingTransformerForCausalLM)
    with torch.inference_mode():
        logits = model.teacher_forced_logits(fixture.tensor("targets"))
    assert (logits - fixture.tensor("logits")).abs().max() < 1e-5
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode("the hello") == [2, 3]


def test_verification_finds_a_changed_byte(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    assignment = convert(fixture, vocabulary, tmp_path / "model")
    shard = tmp_path / "model" / "model-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArtefactDamaged, match="model-00001"):
        conversion.verify(fixture.variables, assignment, tmp_path / "model")


def test_verification_finds_a_tensor_of_another_checkpoint(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    assignment = convert(fixture, vocabulary, tmp_path / "model")
    name = f"{BODY}/final_dense_2/bias"
    other = changed(fixture, **{name: fixture.variables.read(name) + 1})
    with pytest.raises(CheckpointError, match=r"output\.bias"):
        conversion.verify(other, assignment, tmp_path / "model")


def test_a_missing_variable_is_an_error_by_name(fixture: Recorded) -> None:
    variables = changed(fixture, **{f"{BODY}/emb_dense/bias": None})
    with pytest.raises(CheckpointError, match=r"embedding_projection\.bias: missing"):
        conversion.assign(variables, fixture.folder / "hparams.json")


def test_an_unknown_variable_is_an_error_by_name(fixture: Recorded) -> None:
    variables = changed(fixture, **{f"{BODY}/decoder_layer_0/surprise": np.zeros(1)})
    with pytest.raises(CheckpointError, match="decoder_layer_0/surprise"):
        conversion.assign(variables, fixture.folder / "hparams.json")


def test_a_variable_that_the_hyperparameters_do_not_ask_for_is_an_error_by_name(
    fixture: Recorded,
) -> None:
    name = f"{BODY}/decoder_layer_9/self_attention/self_attention/q/kernel"
    variables = changed(fixture, **{name: np.zeros((64, 64))})
    with pytest.raises(CheckpointError, match="decoder_layer_9"):
        conversion.assign(variables, fixture.folder / "hparams.json")


def test_another_shape_is_an_error_by_name(fixture: Recorded) -> None:
    variables = changed(fixture, **{f"{BODY}/emb_dense/bias": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"emb_dense/bias.*\(64,\).*\(3,\)"):
        conversion.assign(variables, fixture.folder / "hparams.json")


def test_another_model_is_no_routing_transformer() -> None:
    with pytest.raises(CheckpointError, match="Routing Transformer"):
        conversion.assign(NumpyVariables({"bert/pooler/kernel": np.zeros(1)}), {})


def test_optimiser_slots_are_ignored(fixture: Recorded) -> None:
    slot = f"training/{BODY}/emb_dense/bias/Adafactor"
    variables = changed(fixture, global_step=np.zeros(()), **{slot: np.zeros(64)})
    assignment = conversion.assign(variables, fixture.folder / "hparams.json")
    assert assignment.ignored == ["global_step", slot]


def test_the_feed_forward_layer_is_what_the_names_say_not_the_hyperparameters(
    fixture: Recorded, tmp_path: Path
) -> None:
    hparams = json.loads((fixture.folder / "hparams.json").read_bytes())
    hparams["ffn_layer"] = "geglu"
    assert conversion.assign(fixture.variables, hparams).config.ffn_layer == "conv_hidden_relu"
    assert ffn_layer([f"{BODY}/decoder_layer_0/self_attention/ffn/weight1/kernel"]) == "geglu"
    assert ffn_layer([f"{BODY}/decoder_layer_0/self_attention/q/kernel"]) == "none"


def test_no_two_variables_are_the_same_tensor(recorded: Find) -> None:
    for name in ("e1_encdec_routing", "g1_wt103_style", "g2_prenorm", "c1_eli5_like"):
        fixture = recorded(name)
        names = [variable for variable in fixture.variables.shapes if not is_ignored(variable)]
        targets = [target_of(variable, encoder_decoder=name[0] == "e").name for variable in names]
        assert len(set(targets)) == len(targets)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.ckpt-1\.index"):
        TensorFlowCheckpoint(tmp_path / "model.ckpt-1")


def test_a_real_tensorflow_checkpoint_holds_the_recorded_weights(recorded: Find) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow (extra tf)")
    fixture = recorded("c1_eli5_like")
    checkpoint = TensorFlowCheckpoint(fixture.folder / "model.ckpt-100000")
    assert "global_step" in checkpoint.shapes
    for name in fixture.variables.shapes:
        assert np.array_equal(checkpoint.read(name), fixture.variables.read(name)), name


class Unreadable(NumpyVariables):
    """A checkpoint that is cut off in the middle, or whose reader is stopped there."""

    reads = 0
    failure: BaseException = IndexError("Read less bytes than requested")

    def read(self, name: str) -> Any:
        self.reads += 1
        if self.reads > 20:
            raise self.failure
        return super().read(name)


def test_a_variable_that_cannot_be_read_is_named(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    variables = Unreadable.load(fixture.folder / "weights.npz")
    hparams = fixture.folder / "hparams.json"
    with pytest.raises(CheckpointError, match=r"sparse_transformer/.*Read less bytes.*copy"):
        conversion.convert("model", hparams, vocabulary, tmp_path / "out", variables=variables)
    assert not list(tmp_path.glob("out*/**/*"))


def test_a_stopped_conversion_leaves_the_old_model_and_a_second_run_is_whole(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    convert(fixture, vocabulary, tmp_path / "model")
    before = (tmp_path / "model" / "manifest.json").read_bytes()
    variables = Unreadable.load(fixture.folder / "weights.npz")
    variables.failure = KeyboardInterrupt()
    hparams = fixture.folder / "hparams.json"
    with pytest.raises(KeyboardInterrupt):
        conversion.convert("model", hparams, vocabulary, tmp_path / "model", variables=variables)
    assert (tmp_path / "model" / "manifest.json").read_bytes() == before
    assert not (tmp_path / "model.partial").exists()
    assignment = convert(fixture, vocabulary, tmp_path / "model")
    conversion.verify(fixture.variables, assignment, tmp_path / "model")


def test_a_full_disk_leaves_nothing_and_gives_its_space_back(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        with pytest.raises(OSError, match="space") as raised:
            convert(fixture, vocabulary, disk / "model")
        assert raised.value.errno == errno.ENOSPC
        assert [path.name for path in disk.iterdir()] == ["model.lock"]


def test_a_directory_that_is_no_model_is_left_alone(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    thesis = tmp_path / "work" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years")
    for out in (thesis.parent, thesis):
        with pytest.raises(InputError, match=r"thesis\.txt.*name a new directory"):
            convert(fixture, vocabulary, out)
    assert thesis.read_text() == "years"


@pytest.mark.parametrize("more", [0, 200])
def test_a_vocabulary_of_another_size_is_a_warning_with_both_numbers(
    more: int,
    fixture: Recorded,
    vocabulary: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with vocabulary.open("a") as file:
        file.writelines(f"'more{number}_'\n" for number in range(more))
    with caplog.at_level(logging.WARNING):
        convert(fixture, vocabulary, tmp_path / "model")
    assert f"{len(SUBTOKENS) + more} subtokens" in caplog.text
    assert "149 rows" in caplog.text


def test_a_vocabulary_in_another_encoding_is_an_error(
    fixture: Recorded, vocabulary: Path, tmp_path: Path
) -> None:
    vocabulary.write_bytes("'café_'\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"vocabulary must be UTF-8"):
        convert(fixture, vocabulary, tmp_path / "model")
