"""Compiled clusters are those of the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rag_rt.attention.key_clusters import cluster_keys
from rag_rt.models.routed_decoder.clustering import order_by_cluster, reorder, summarise
from rag_rt.models.routed_decoder.packing import array
from rag_rt.models.routed_decoder.vectors import LANES, TILE


@settings(max_examples=20, deadline=None)
@given(blocks=st.integers(1, 4), parts=st.sampled_from([1, 2, 16]), seed=st.integers(0, 99))
def test_compiled_clusters_are_those_of_the_reference(blocks: int, parts: int, seed: int) -> None:
    keys = torch.randn(blocks, 4 * parts, 16, generator=torch.Generator().manual_seed(seed))
    keys *= torch.arange(1, 17) / 4  # some directions matter more
    found = torch.empty(blocks, 4 * parts, dtype=torch.int64)
    order_by_cluster(array(tiled(keys)), 0, found.numpy())
    assert torch.equal(found.view(blocks, parts, 4), cluster_keys(keys, 4).members)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=20, deadline=None)
@given(
    before=st.integers(0, 3),
    parts=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 99),
    first=st.integers(0, 20),
)
def test_a_block_changes_places_and_is_summarised(
    dtype: torch.dtype, before: int, parts: int, seed: int, first: int
) -> None:
    """What lies before and after the block stays, and undoing it gives the block back."""
    random = torch.Generator().manual_seed(seed)
    start, block = before * TILE, parts * TILE
    keys, values = (torch.randn(3, start + block + 8, 16, generator=random) for _ in range(2))
    keys, values = keys.to(dtype), values.to(dtype)
    order = torch.argsort(torch.rand(3, block, generator=random), -1)
    places = torch.arange(keys.shape[1]).repeat(3, 1)
    places[:, start : start + block] = start + order
    heads = torch.arange(3).unsqueeze(1)
    moved, moved_values = tiled(keys), values.clone()
    reorder(array(moved), array(moved_values), start, order.numpy())
    assert torch.equal(moved, tiled(keys[heads, places]))
    assert torch.equal(moved_values, values[heads, places])
    clusters = torch.zeros(3, 3, 32, LANES, dtype=dtype)
    summarise(array(moved), start // TILE, (start + block) // TILE, array(clusters), first)
    found = clusters.transpose(2, 3).flatten(1, 2)  # (N, C, 2 D)
    members = keys[heads, places][:, start : start + block].float().view(3, parts, TILE, 16)
    expected = torch.zeros(found.shape)
    expected[:, first : first + parts] = torch.cat(
        [members.mean(2), members.var(2, unbiased=False)], -1
    )
    step = 1e-5 if dtype == torch.float32 else 2.0**-8
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=step)
    reorder(array(moved), array(moved_values), start, order.argsort(-1).numpy())
    assert torch.equal(moved, tiled(keys))
    assert torch.equal(moved_values, values)


def tiled(keys: Tensor) -> Tensor:
    """Keys (N, S, D) as a row holds them: (N, S/4, D/4, 4 keys, 4 of D)."""
    cut = keys.reshape(len(keys), -1, TILE, keys.shape[-1] // TILE, TILE)
    return cut.transpose(2, 3).contiguous()
