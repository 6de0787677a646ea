"""Our own forward pass: transformers' logits, and the same bits in whatever company."""

import os
import subprocess
import sys
from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, LlamaConfig, MistralConfig

from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_attention import register_routed_attention
from rag_rt.models.routed_decoder import DecoderConfig, Precision, RoutedDecoder
from tests.rag_rt.routed_decoder.models import (
    CONFIGS,
    SIZES,
    SMALL_ROUTING,
    decoder,
    model,
    scaled_rope,
    some_ids,
)

LENGTH = 260
ROUTINGS = {"dense": None, "routed": SMALL_ROUTING}


def reference(name: str, ids: list[int], attention: str = "sdpa") -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(name, attention)(torch.tensor([ids])).logits[0].float()
    return logits


def stepped(made: RoutedDecoder, ids: list[int], sizes: list[int], read: int = 0) -> torch.Tensor:
    """Logits after each token but the first read ones, in steps of the given sizes by turns."""
    row = made.open_row(len(ids))
    if read:
        made.read(row, ids[:read])
    found = []
    turn = 0
    while row.length < len(ids):
        some = ids[row.length : row.length + sizes[turn % len(sizes)]]
        found += made.step([(row, some)])
        turn += 1
    return torch.cat(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str) -> None:
    ids = some_ids(90)
    made, expected = decoder(name), reference(name, ids)
    row = made.open_row(len(ids))
    torch.testing.assert_close(made.read(row, ids[:70]), expected[69], atol=1e-4, rtol=0)
    found = torch.cat(made.step([(row, ids[70:73])]) + made.step([(row, ids[73:])]))
    torch.testing.assert_close(found, expected[70:], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(),
        MistralConfig(**SIZES, sliding_window=8),
        LlamaConfig(**SIZES | {"head_dim": 8}),
        LlamaConfig(**SIZES | {"intermediate_size": 100}),
        LlamaConfig(**SIZES, hidden_act="gelu"),
        LlamaConfig(**SIZES, rope_parameters=scaled_rope("dynamic")),
    ],
    ids=["other family", "window", "head size", "inner size", "activation", "rope"],
)
def test_other_models_are_left_to_transformers(config: object) -> None:
    assert DecoderConfig.of(config) is None


@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_text_can_be_read_in_any_pieces(routing: str) -> None:
    made, ids = decoder("llama", "float32", ROUTINGS[routing]), some_ids(LENGTH)
    whole = made.read(made.open_row(LENGTH), ids)
    for cuts in ([1, 130], [17, 64, 72, 73, 200], [259]):
        row = made.open_row(LENGTH)
        for begin, end in zip([0, *cuts], [*cuts, LENGTH], strict=True):
            pieces = made.read(row, ids[begin:end])
        torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(stepped(made, ids, [1])[-1], whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize("routing", ROUTINGS)
@settings(max_examples=6)
@given(data=st.data())
def test_no_bit_depends_on_company(routing: str, precision: Precision, data: st.DataObject) -> None:
    made = decoder("llama", precision, ROUTINGS[routing])
    read = data.draw(st.integers(0, 180), "tokens read before")
    ids = some_ids(read + 40, data.draw(st.integers(0, 9), "seed"))
    alone = stepped(made, ids, [1], read)
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6), "tokens a step")
    torch.testing.assert_close(stepped(made, ids, sizes, read), alone, atol=0, rtol=0)

    others = data.draw(st.lists(st.integers(1, 200), max_size=3), "lengths of the others")
    rows = [made.open_row(400) for _ in range(len(others) + 1)]
    for row, length in zip(rows[1:], others, strict=True):
        made.read(row, some_ids(length, length))
    if read:
        made.read(rows[0], ids[:read])
    found = [
        made.step([(row, some_ids(3, 5)) for row in rows[1:]] + [(rows[0], [token])])[-1]
        for token in ids[read:]
    ]
    torch.testing.assert_close(torch.cat(found), alone, atol=0, rtol=0)


@pytest.mark.parametrize("routing", ROUTINGS)
@settings(max_examples=15)
@given(kept=st.integers(1, 250), further=st.integers(1, 150))
def test_what_was_forgotten_leaves_no_trace(routing: str, kept: int, further: int) -> None:
    made, ids = decoder("llama", "int8", ROUTINGS[routing]), some_ids(300)
    row, other = made.open_row(500), made.open_row(500)
    made.read(row, ids[:kept])
    made.read(other, ids[:kept])
    made.step([(other, some_ids(further, 1))])
    other.truncate(kept)
    after, expected = (torch.cat(made.step([(r, ids[kept:])])) for r in (other, row))
    torch.testing.assert_close(after, expected, atol=0, rtol=0)


def test_routed_logits_are_those_of_the_reference() -> None:
    ids = some_ids(LENGTH)
    register_routed_attention("routed for this test", SMALL_ROUTING)
    expected = reference("llama", ids, "routed for this test")
    made = decoder("llama", "float32", SMALL_ROUTING)
    torch.testing.assert_close(stepped(made, ids, [5]), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        made.read(made.open_row(LENGTH), ids), expected[-1], atol=1e-4, rtol=0
    )
    assert (expected[200:] - reference("llama", ids)[200:]).abs().max() > 1e-2  # it does route


def test_a_budget_for_all_keys_is_dense() -> None:
    ids = some_ids(LENGTH)
    wide = decoder("llama", "float32", Routing(budget=272, block=64, sinks=8))
    torch.testing.assert_close(
        stepped(wide, ids, [4], read=100), reference("llama", ids)[100:], atol=1e-4, rtol=0
    )


def test_positions_below_the_crossover_are_dense() -> None:
    ids = some_ids(LENGTH)
    made = model("llama")
    config = DecoderConfig.of(made.config)
    assert config is not None
    crossing = RoutedDecoder(
        made, config, "float32", SMALL_ROUTING, written_dense_below=200, read_dense_below=200
    )
    found, expected = stepped(crossing, ids, [3], read=190), reference("llama", ids)[190:]
    torch.testing.assert_close(found[:10], expected[:10], atol=1e-4, rtol=0)
    assert (found[10:] - expected[10:]).abs().max() > 1e-2


def test_blocks_that_one_piece_completes_are_all_clustered() -> None:
    """Read densely, which needs no clusters, and written by routed attention, which does."""
    ids = some_ids(LENGTH)
    dense = reference("llama", ids)
    made = model("llama")
    config = DecoderConfig.of(made.config)
    assert config is not None
    crossing = RoutedDecoder(made, config, "float32", SMALL_ROUTING, read_dense_below=LENGTH)
    found = []
    for cuts in ([], [1, 130], [64, 72, 73], range(1, LENGTH - 20)):
        row = crossing.open_row(LENGTH)
        for begin, end in pairwise([0, *cuts, LENGTH - 20]):
            read = crossing.read(row, ids[begin:end])
        torch.testing.assert_close(read, dense[LENGTH - 21], atol=1e-4, rtol=0)
        found.append(torch.cat(crossing.step([(row, ids[-20:])])))
        torch.testing.assert_close(found[-1], found[0], atol=1e-4, rtol=0)
    assert (found[0] - dense[-20:]).abs().max() > 1e-2  # it does route


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.06), ("int8", 0.2)])
def test_fewer_bits_change_little(precision: Precision, most: float) -> None:
    ids = some_ids(60)
    exact = reference("llama", ids)
    error = (stepped(decoder("llama", precision), ids, [4]) - exact).std() / exact.std()
    assert 0 < error < most, error


def test_routing_that_is_cut_otherwise_is_refused() -> None:
    config = DecoderConfig.of(model().config)
    assert config is not None
    with pytest.raises(ValueError, match="multiples"):
        RoutedDecoder(model(), config, "float32", Routing(cluster=8, block=128))


def test_without_onednn_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_rt.models.routed_decoder.weights.can_pack", lambda dtype: False)
    config, ids = DecoderConfig.of(model("qwen2").config), some_ids(40)
    assert config is not None
    made = RoutedDecoder(model("qwen2"), config, "float32")
    found = made.read(made.open_row(40), ids)
    torch.testing.assert_close(found, reference("qwen2", ids)[-1], atol=1e-4, rtol=0)


def test_a_processor_without_byte_products_computes_the_same_sums() -> None:
    program = """
import numpy as np, torch
from rag_rt.models.routed_decoder import layout, products, vectors
from rag_rt.models.routed_decoder.packing import packed
linear = packed([torch.arange(-1024, 1024).view(32, 64) / 777], [None], "int8")
x = layout.Input(np.sin(np.arange(320, dtype=np.float32)), np.zeros(320, np.int8),
                  np.zeros(10, np.float32), np.zeros(10, np.int32))
for row in range(5):
    products.quantise(x, row, 64)
y = np.zeros(160, np.float32)
products.linear(linear, 0, x, y, 5, 64, 32, 1)
print(vectors.has_byte_products(), *y.round(3))
"""
    found = []
    for cpu in ("generic", ""):
        environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
        if not cpu:
            environment = dict(os.environ)
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        found.append(run.stdout.split())
    assert found[0][0] == "False"
    assert found[0][1:] == found[1][1:]


def test_compiled_code_leaves_torch_its_threads() -> None:
    program = """
import torch
torch.set_num_threads(1)
from tests.rag_rt.routed_decoder.models import decoder
made = decoder()
row = made.open_row(8)
made.read(row, [1, 2])
made.step([(row, [3])])
print(torch.get_num_threads())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["1"], run.stderr
