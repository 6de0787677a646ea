from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

from rag_rt.attention.key_clusters import cluster_keys
from rag_rt.attention.routed_keys import Routing, routed_attention

KV, GROUP, DEPTH = 2, 3, 8
seeds = st.integers(0, 2**32)
lengths = st.integers(1, 150)


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    cluster = draw(st.sampled_from([1, 2, 4]))
    block = cluster << draw(st.integers(0, 4))
    sinks = draw(st.integers(0, 9))
    budget = sinks + block + GROUP * cluster + draw(st.integers(0, 40))
    return Routing(budget, block, sinks, cluster, draw(st.floats(0, 1)))


def inputs(seed: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Doubles, so that no score is so near to another that rounding settles which is better."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((KV * GROUP, length, DEPTH), (KV, length, DEPTH), (KV, length, 5))
    q, k, v = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return 2 * q, 2 * k, v


def keys_read(seed: int, length: int, routing: Routing) -> Tensor:
    """Which keys each query read, (H, T, S): those whose values come through."""
    q, k, _ = inputs(seed, length)
    ones = torch.eye(length, dtype=torch.float64).expand(KV, -1, -1)
    return routed_attention(q, k, ones, routing) > 0


def by_hand(q: Tensor, k: Tensor, v: Tensor, p: int, kv: int, routing: Routing) -> Tensor:
    """The group `kv` at position p, from the definition, cluster by cluster."""
    group = q[kv * GROUP : (kv + 1) * GROUP, p] * DEPTH**-0.5
    block = max(0, p - routing.sinks) // routing.block
    own = routing.sinks + block * routing.block
    read = [*range(min(routing.sinks, p + 1)), *range(own, p + 1)]
    clusters: list[list[int]] = []
    logits = torch.empty(GROUP, 0, dtype=torch.float64)
    for start in range(routing.sinks, own, routing.block):
        members = cluster_keys(k[kv, start : start + routing.block], routing.cluster).members
        for positions in (start + members).tolist():
            mean, variance = k[kv, positions].mean(0), k[kv, positions].var(0, unbiased=False)
            logit = group @ mean + routing.spread * group**2 @ variance
            logits = torch.cat([logits, logit.unsqueeze(1)], 1)
            clusters.append(positions)
    scores = torch.stack([head - max(head, default=0) for head in logits]).max(0).values
    best = scores.argsort(descending=True)[: (routing.budget - len(read)) // routing.cluster]
    read += [position for cluster in best.tolist() for position in clusters[cluster]]
    weights: Tensor = (group @ k[kv, read].mT).softmax(-1)
    return weights @ v[kv, read]


@given(seeds, lengths, routings())
def test_it_is_attention_to_sinks_best_clusters_and_own_block(
    seed: int, length: int, routing: Routing
) -> None:
    q, k, v = inputs(seed, length)
    out = routed_attention(q, k, v, routing)
    for kv in range(KV):
        expected = by_hand(q, k, v, length - 1, kv, routing)
        torch.testing.assert_close(out[kv * GROUP : (kv + 1) * GROUP, -1], expected)


@given(seeds, lengths, routings(), st.data())
def test_a_suffix_changes_nothing_before_it(
    seed: int, length: int, routing: Routing, data: st.DataObject
) -> None:
    q, k, v = inputs(seed, length)
    cut = data.draw(st.integers(0, length - 1))
    before = routed_attention(q, k, v, routing)[:, :cut]
    for x in (q, k, v):
        x[:, cut:] = 100 * torch.rand_like(x[:, cut:])
    assert torch.equal(routed_attention(q, k, v, routing)[:, :cut], before)


@given(seeds, lengths, routings(), st.lists(st.integers(1, 150), max_size=4))
def test_pieces_say_what_the_whole_says(
    seed: int, length: int, routing: Routing, cuts: list[int]
) -> None:
    q, k, v = inputs(seed, length)
    ends = sorted({min(cut, length) for cut in cuts} | {0, length})
    pieces = [
        routed_attention(q[:, start:stop], k[:, :stop], v[:, :stop], routing)
        for start, stop in pairwise(ends)
    ]
    torch.testing.assert_close(torch.cat(pieces, 1), routed_attention(q, k, v, routing))


@given(seeds, lengths, routings())
def test_what_fits_the_budget_is_read_whole(seed: int, length: int, routing: Routing) -> None:
    q, k, v = inputs(seed, length)
    dense = scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)
    out = routed_attention(q, k, v, routing)
    torch.testing.assert_close(out[:, : routing.budget], dense[0, :, : routing.budget])


@given(seeds, lengths, routings())
def test_the_budget_is_kept_and_used(seed: int, length: int, routing: Routing) -> None:
    read = keys_read(seed, length, routing)
    count = read.sum(-1)
    usable = torch.arange(1, length + 1).clamp(max=routing.budget - routing.cluster + 1)
    assert bool(((usable <= count) & (count <= routing.budget)).all())


@given(seeds, lengths, routings())
def test_heads_of_a_group_read_the_same_keys(seed: int, length: int, routing: Routing) -> None:
    read = keys_read(seed, length, routing).view(KV, GROUP, length, length)
    assert torch.equal(read, read[:, :1].expand_as(read))


@given(seeds)
def test_the_key_that_a_query_asks_for_is_found(seed: int) -> None:
    q, k, v = inputs(seed, 400)
    wanted = int(torch.randint(16, 300, (), generator=torch.Generator().manual_seed(seed)))
    k[:, wanted] = 20 * normalize(k[:, wanted], dim=-1)  # a short one asks for others as well
    q[:, -1] = k[:, wanted].repeat_interleave(GROUP, 0)
    out = routed_attention(q, k, v, Routing(budget=64, block=32, cluster=4))
    assert (out[:, -1] - v[:, wanted].repeat_interleave(GROUP, 0)).abs().max() < 1e-3


def test_bfloat16_is_read_as_well() -> None:
    q, k, v = inputs(0, 300)
    routing = Routing(budget=300, block=32, cluster=4)
    rough = routed_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), routing)
    assert rough.dtype == torch.bfloat16
    assert (rough - routed_attention(q, k, v, routing)).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("block", "sinks", "budget", "cluster", "message"),
    [
        (48, 16, 1024, 16, "times a power of two, and is 48"),
        (8, 16, 1024, 16, "times a power of two, and is 8"),
        (512, 16, 512, 16, "16 \\+ 512 keys; it is 512"),
        (512, -1, 1024, 16, "-1 \\+ 512"),
        (512, 16, 1024, 0, "block must be cluster \\(0\\)"),
    ],
)
def test_settings_that_cannot_hold_are_refused(
    block: int, sinks: int, budget: int, cluster: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Routing(budget, block, sinks, cluster)


def test_a_budget_without_a_cluster_for_each_head_is_refused() -> None:
    q, k, v = inputs(0, 50)
    with pytest.raises(ValueError, match="budget must be 44 keys or more"):
        routed_attention(q, k, v, Routing(budget=43, block=16, sinks=16, cluster=4))
