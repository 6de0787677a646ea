import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rag_rt.attention.key_clusters import cluster_keys

sizes = st.sampled_from([2, 4, 16])
halvings = st.integers(0, 4)
seeds = st.integers(0, 2**32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def as_sets(members: Tensor) -> set[frozenset[int]]:
    return {frozenset(cluster) for cluster in members.tolist()}


@given(seeds, st.integers(0, 3), sizes, halvings, st.sampled_from([torch.bfloat16, torch.float32]))
def test_each_key_is_in_one_cluster_and_clusters_have_one_size(
    seed: int, blocks: int, size: int, times: int, dtype: torch.dtype
) -> None:
    block = size << times
    made = cluster_keys(normal(seed, 2, blocks, block, 8).to(dtype), size)
    assert made.members.shape == (2, blocks, block // size, size)
    everything = torch.arange(block).expand(2, blocks, -1)
    assert torch.equal(made.members.flatten(2).sort().values, everything)


@given(seeds, sizes, halvings)
def test_mean_and_variance_are_those_of_the_members(seed: int, size: int, times: int) -> None:
    keys = normal(seed, size << times, 8)
    made = cluster_keys(keys, size)
    members = keys[made.members]
    torch.testing.assert_close(made.mean, members.mean(1))
    torch.testing.assert_close(made.variance, members.var(1, unbiased=False))


@given(seeds, st.integers(1, 5), sizes, halvings)
def test_other_blocks_change_no_bit(seed: int, blocks: int, size: int, times: int) -> None:
    keys = normal(seed, 3, blocks, size << times, 64)
    together = cluster_keys(keys, size)
    for head in range(3):
        for block in range(blocks):
            alone = cluster_keys(keys[head, block], size)
            assert all(torch.equal(x[head, block], y) for x, y in zip(together, alone, strict=True))


@given(seeds, sizes, halvings)
def test_order_scale_and_place_of_keys_do_not_matter(seed: int, size: int, times: int) -> None:
    block = size << times
    keys = normal(seed, block, 8).double()
    order = torch.randperm(block, generator=torch.Generator().manual_seed(seed))
    clusters = as_sets(cluster_keys(keys, size).members)
    assert as_sets(order[cluster_keys(keys[order], size).members]) == clusters
    assert as_sets(cluster_keys(3 * keys - 7, size).members) == clusters


@given(seeds)
def test_groups_far_apart_become_clusters(seed: int) -> None:
    groups = torch.randperm(64, generator=torch.Generator().manual_seed(seed)) % 4
    corners = torch.tensor([[40, 20], [40, -20], [-40, 20], [-40, -20]])
    members = cluster_keys(corners[groups] + normal(seed, 64, 2), 16).members
    assert all(len(set(groups[cluster].tolist())) == 1 for cluster in members)


@given(seeds)
def test_clusters_are_tighter_than_neighbours(seed: int) -> None:
    keys = normal(seed, 512, 64)
    neighbours = keys.view(-1, 16, 64).var(1, unbiased=False).sum()
    assert cluster_keys(keys, 16).variance.sum() < 0.95 * neighbours


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_keys_that_are_not_finite_stay_in_one_cluster_each(number: float) -> None:
    keys = normal(0, 64, 8)
    keys[5, 3] = number
    made = cluster_keys(keys, 16)
    assert sorted(made.members.flatten().tolist()) == list(range(64))
    of_it = (made.members == 5).any(-1)
    assert torch.equal(~made.variance.isfinite().all(-1), of_it)


@pytest.mark.parametrize("block", [0, 8, 24, 48])
def test_blocks_that_cannot_be_halved_are_refused(block: int) -> None:
    with pytest.raises(ValueError, match=f"power of two; it has {block}"):
        cluster_keys(torch.zeros(block, 8), 16)
