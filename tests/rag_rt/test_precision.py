"""Fewer bits a weight: what is kept, what changes, and by how much."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

from rag_rt.errors import InvalidRequest
from rag_rt.models.precision import Int8Linear, set_precision
from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 9), st.booleans())
def test_an_int8_layer_multiplies_by_weights_within_half_a_level(
    inputs: int, outputs: int, rows: int, bias: bool
) -> None:
    layer = nn.Linear(inputs, outputs, bias=bias)
    quantised = Int8Linear(layer)
    restored = quantised.weight[:, :inputs].float() * quantised.scale.float().unsqueeze(-1)
    level = layer.weight.abs().amax(1, keepdim=True) / 127
    assert ((restored - layer.weight).abs() <= 0.51 * level + 1e-8).all()
    x = torch.randn(2, rows, inputs).bfloat16()
    with torch.inference_mode():
        found = quantised(x).float()
        expected = nn.functional.linear(x.float(), restored, layer.bias)
    assert found.shape == (2, rows, outputs)
    # bfloat16 rounds the result, and the intermediate products of the many-rows road, by 2^-8
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_a_layer_of_zeros_stays_one() -> None:
    layer = nn.Linear(32, 8, bias=False)
    nn.init.zeros_(layer.weight)
    assert not Int8Linear(layer)(torch.randn(1, 32).bfloat16()).any()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_logits_of_a_routing_transformer_move_little(precision: Any) -> None:
    fixture = Recorded(IN_TREE / "k1_decode_greedy_prefix")
    model = fixture.model()
    ids = torch.randint(0, 97, (2, 90))
    with torch.inference_mode():
        before = model(ids).logits
        means = model.get_buffer("decoder.1.self_attention.body.routing.means").clone()
        set_precision(model, precision)
        after = model(ids).logits
    assert after.dtype == torch.float32
    assert 0 < (after - before).pow(2).mean().sqrt() < before.std() / 7
    kept = model.get_buffer("decoder.1.self_attention.body.routing.means")
    assert kept.dtype == torch.float32
    assert torch.equal(kept, means)


def test_int8_replaces_large_layers_alone() -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 8), nn.LayerNorm(8))
    set_precision(model, "int8")
    assert isinstance(model[0], Int8Linear)
    assert isinstance(model[1], nn.Linear)
    assert model(torch.randn(3, 512).bfloat16()).dtype == torch.bfloat16


def test_transformers_own_dtype_leaves_the_centroids_in_float32(tmp_path: Path) -> None:
    Recorded(IN_TREE / "k1_decode_greedy_prefix").model().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    dtypes = {name.rsplit(".", 1)[1]: tensor.dtype for name, tensor in model.named_buffers()}
    assert dtypes == dict.fromkeys(("means", "ema_count", "ema_means"), torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        assert model(torch.randint(0, 97, (1, 40))).logits.isfinite().all()


def test_an_unknown_precision_is_refused() -> None:
    precision: Any = "int4"
    with pytest.raises(InvalidRequest, match="float32, bfloat16, int8"):
        set_precision(nn.Linear(2, 2), precision)
