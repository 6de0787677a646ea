"""Compiled clusters are those of the reference."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_rt.attention.key_clusters import cluster_keys
from rag_rt.models.routed_decoder.clustering import cluster_blocks


@settings(max_examples=20)
@given(blocks=st.integers(1, 4), parts=st.sampled_from([1, 2, 16]), seed=st.integers(0, 99))
def test_compiled_clusters_are_those_of_the_reference(blocks: int, parts: int, seed: int) -> None:
    keys = torch.randn(blocks, 4 * parts, 16, generator=torch.Generator().manual_seed(seed))
    keys *= torch.arange(1, 17) / 4  # some directions matter more
    found = torch.empty(blocks, 4 * parts, dtype=torch.int64)
    cluster_blocks(keys.numpy(), found.numpy(), 4)
    assert torch.equal(found.view(blocks, parts, 4), cluster_keys(keys, 4).members)
