import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_rt.models.routing_transformer import (
    HyperparameterError,
    InputError,
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
)
from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded

CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("hidden_size", {"hidden_size": 1001}),
    ("hidden_size", {"hidden_size": 0}),
    ("attention_key_channels", {"attention_key_channels": 1001}),
    ("local_num_heads", {"local_num_heads": 0, "sparsity_cluster_num_heads": 0}),
    ("local_num_heads", {"local_num_heads": -1}),
    ("memory_flange", {"memory_flange": 100}),
    ("memory_flange", {"memory_query_shape": 512}),
    ("max_target_length", {"max_target_length": 8000}),
    ("sparsity_cluster_attention_window", {"sparsity_cluster_attention_window": 9000}),
    ("sparsity_cluster_attention_window", {"sparsity_cluster_attention_window": 0}),
    ("sparsity_cluster_size", {"sparsity_cluster_size": 0}),
    ("sparsity_cluster_strided_num_heads",
     {"local_num_heads": 4, "sparsity_cluster_strided_num_heads": 2}),
    ("layer_preprocess_sequence", {"layer_preprocess_sequence": "an"}),
    ("layer_postprocess_sequence", {"layer_postprocess_sequence": "dax"}),
    ("layer_preprocess_sequence", {"layer_preprocess_sequence": "n", "num_encoder_layers": 2}),
    ("sparsity_strided_num_heads",
     {"local_num_heads": 4, "sparsity_strided_num_heads": 2, "num_encoder_layers": 2}),
    ("ffn_layer", {"ffn_layer": "moe"}),
    ("decoding", {"decoding": "quick"}),
    ("decay", {"decay": 1.5}),
    ("norm_epsilon", {"norm_epsilon": 0.0}),
    ("attention_dropout", {"attention_dropout": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "values"), CONTRADICTIONS)
def test_a_contradiction_is_refused_by_the_name_of_the_field(
    field: str, values: dict[str, Any]
) -> None:
    with pytest.raises(HyperparameterError) as caught:
        RoutingTransformerConfig(**values)
    assert caught.value.field == field
    assert "found" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("hash_items", True), ("norm_type", "noam"), ("query_shape", [16, 16])],
)
def test_hparams_of_an_unknown_variant_are_refused(field: str, value: Any) -> None:
    with pytest.raises(HyperparameterError) as caught:
        RoutingTransformerConfig.from_hparams({field: value})
    assert caught.value.field == field


def test_the_defaults_are_the_published_eli5_model() -> None:
    with torch.device("meta"):
        model = RoutingTransformerForCausalLM(RoutingTransformerConfig())
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 490_718_460


def test_an_original_hparams_file_is_enough() -> None:
    folder = IN_TREE / "f2_cluster_strided"
    config = RoutingTransformerConfig.from_hparams(folder / "hparams.json", vocab_size=149)
    hparams = json.loads((folder / "hparams.json").read_bytes())
    assert [config.query_shape] == hparams["query_shape"]
    assert config.sparsity_cluster_strided_num_heads == 2
    assert config.num_attention_heads == 8


def test_other_names_of_the_default_feed_forward_layer_mean_it() -> None:
    assert RoutingTransformerConfig.from_hparams({"ffn_layer": "x"}).ffn_layer == "conv_hidden_relu"


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hparams.json").write_text("{")
    with pytest.raises(HyperparameterError, match=r"hparams\.json"):
        RoutingTransformerConfig.from_hparams(tmp_path / "hparams.json")


def test_a_saved_configuration_is_read_again(tmp_path: Path) -> None:
    config = RoutingTransformerConfig(beta=0.5, query_shape=128)
    config.save_pretrained(tmp_path)
    again = RoutingTransformerConfig.from_pretrained(tmp_path)
    assert (again.beta, again.query_shape, again.max_position_embeddings) == (0.5, 128, 8192)


@pytest.mark.parametrize(
    ("field", "targets"),
    [
        ("targets", torch.zeros(1, 100, dtype=torch.long)),  # no multiple of the block, 32
        ("targets", torch.zeros(1, 0, dtype=torch.long)),
        ("targets", torch.full((1, 128), 149)),  # the vocabulary has 149
        ("targets", torch.full((1, 128), -1)),
    ],
)
def test_ids_that_the_model_cannot_read_are_refused(
    recorded: Callable[[str], Recorded], field: str, targets: torch.Tensor
) -> None:
    model = recorded("f2_cluster_strided").model()
    with pytest.raises(InputError) as caught:
        model.teacher_forced_logits(targets)
    assert caught.value.field == field


def test_a_window_longer_than_the_sequence_is_refused(
    recorded: Callable[[str], Recorded],
) -> None:
    fixture = recorded("k1_decode_greedy_prefix")
    with pytest.raises(InputError, match="sparsity_cluster_attention_window"):
        fixture.model().teacher_forced_logits(torch.zeros(1, 16, dtype=torch.long))


def test_an_encoder_needs_inputs_and_a_decoder_alone_refuses_them(
    recorded: Callable[[str], Recorded],
) -> None:
    with_encoder, alone = recorded("e1_encdec_routing"), recorded("f2_cluster_strided")
    targets = torch.ones(1, 128, dtype=torch.long)
    with pytest.raises(InputError, match="must be given"):
        with_encoder.model().teacher_forced_logits(targets)
    with pytest.raises(InputError, match="must not be given"):
        alone.model().teacher_forced_logits(targets, targets)
    with pytest.raises(InputError, match="as many blocks"):
        with_encoder.model().teacher_forced_logits(targets, targets)
