"""What happens between the products of a slice, against the same in torch."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import rms_norm, silu
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from rag_rt.models.routed_decoder.packing import array
from rag_rt.models.routed_decoder.slices import add_and_normalise, gate, turn_and_remember
from rag_rt.models.routed_decoder.vectors import TILE

DTYPES = [torch.float32, torch.bfloat16]
HEADS, KV_HEADS, SIZE, ROOM, WIDTH = 4, 2, 16, 48, 64
shapes = given(rows=st.integers(1, 20), threads=st.integers(1, 3))
each_type = pytest.mark.parametrize("dtype", DTYPES)
few = settings(max_examples=15, deadline=None)


def some(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def expect(found: Tensor, exact: Tensor) -> None:
    """Equal but for the order of sums, and one rounding to the type at hand."""
    step = 2e-6 if found.dtype == torch.float32 else 2.0**-8
    torch.testing.assert_close(found.float(), exact, atol=1e-5, rtol=step)


@each_type
@few
@shapes
def test_sums_are_normalised(dtype: torch.dtype, rows: int, threads: int) -> None:
    x, added, weight = some(rows, WIDTH), some(rows + 1, WIDTH)[1:].to(dtype), some(WIDTH)
    whole = x + added.float()
    out = torch.zeros(rows + 3, WIDTH, dtype=dtype)
    add_and_normalise(x.numpy(), array(added), weight.numpy(), 1e-5, array(out), threads)
    torch.testing.assert_close(x, whole)
    expect(out[:rows], rms_norm(whole, (WIDTH,), weight, 1e-5))
    assert not out[rows:].any()
    add_and_normalise(x.numpy(), array(added[:0]), weight.numpy(), 1e-5, array(out), threads)
    torch.testing.assert_close(x, whole)


@each_type
@few
@shapes
def test_gates_are_those_of_llama(dtype: torch.dtype, rows: int, threads: int) -> None:
    gate_up, out = (
        8 * some(rows + 2, 2 * WIDTH).to(dtype),
        torch.zeros(rows + 2, WIDTH, dtype=dtype),
    )
    gate(array(gate_up), rows, array(out), threads)
    gates, up = gate_up[:rows].float().chunk(2, -1)
    expect(out[:rows], silu(gates) * up)
    assert not out[rows:].any()


@each_type
@few
@given(rows=st.integers(1, 20), start=st.integers(0, 20), threads=st.integers(1, 3))
def test_keys_are_turned_and_kept(dtype: torch.dtype, rows: int, start: int, threads: int) -> None:
    angles = some(ROOM, SIZE // 2)
    qkv = some(rows, HEADS + 2 * KV_HEADS, SIZE).to(dtype)
    before, wide = qkv.clone(), torch.cat([angles, angles], -1)[start : start + rows]
    keys = torch.zeros(KV_HEADS, ROOM // TILE, SIZE // TILE, TILE, TILE, dtype=dtype)
    values = torch.zeros(KV_HEADS, ROOM, SIZE, dtype=dtype)
    turn_and_remember(
        array(qkv), rows, angles.cos().numpy(), angles.sin().numpy(), array(keys), array(values),
        start, threads,
    )  # fmt: skip
    turn: Callable[..., tuple[Tensor, Tensor]] = apply_rotary_pos_emb
    q, k, v = torch.split(before, [HEADS, KV_HEADS, KV_HEADS], 1)
    q, k = turn(q.float(), k.float(), wide.cos(), wide.sin(), unsqueeze_dim=1)
    expect(qkv[:, :HEADS], q)
    kept = keys.transpose(2, 3).reshape(KV_HEADS, ROOM, SIZE)
    here = slice(start, start + rows)
    expect(kept[:, here].transpose(0, 1), k)
    assert torch.equal(qkv[:, HEADS:-KV_HEADS], kept[:, here].transpose(0, 1))
    assert torch.equal(values[:, here].transpose(0, 1), v)
    for other in (kept, values):
        assert not other[:, :start].any()
        assert not other[:, start + rows :].any()
