"""Ways to choose the keys that a query reads, each under one name that transformers knows.

All read at most the same number of keys, but for `dense`. Sinks and, but for `local` and `oracle`,
the query's own block are read by all of them; see `rag_rt.attention.routed_keys`.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from rag_rt.attention.dense import later_keys
from rag_rt.attention.key_clusters import KeyClusters
from rag_rt.attention.routed_keys import Routing, routed_attention
from rag_rt.models.routed_attention import real_keys

# q (H, T, D), k and v (KV, S, D), the last T of S positions; to (H, T, D)
Attention = Callable[[Tensor, Tensor, Tensor, Routing], Tensor]
_QUERIES = 256  # computed together
_NAME = "quality-{}"
_DENSE = "sdpa"  # torch's own
# As answers are written: what precedes the tokens that count was read by dense attention.
WRITTEN = "routed, dense prompt"


def local(q: Tensor, k: Tensor, v: Tensor, routing: Routing) -> Tensor:
    """The sinks and the last keys."""
    pieces = []
    for start, stop in _spans(q, k):
        begin = max(routing.sinks, start - (routing.budget - routing.sinks) + 1)
        positions = torch.arange(stop, device=k.device)
        places = torch.cat([positions[: routing.sinks], positions[begin:]])
        asking = positions[start:, None]
        hidden = places > asking
        hidden |= (places <= asking - (routing.budget - routing.sinks)) & (places >= routing.sinks)
        pieces.append(_masked(_of(q, k, start, stop), k[:, places], v[:, places], hidden))
    return torch.cat(pieces, 1)


def random(q: Tensor, k: Tensor, v: Tensor, routing: Routing) -> Tensor:
    """Clusters at random, others for each query."""
    generator = torch.Generator().manual_seed(k.shape[1])

    def score(q: Tensor, clusters: KeyClusters, routing: Routing) -> Tensor:
        shape = (q.shape[0], q.shape[2], clusters.mean.shape[1])
        return torch.rand(shape, generator=generator).to(q.device)

    return routed_attention(q, k, v, routing, score=score)


def contiguous(q: Tensor, k: Tensor, v: Tensor, routing: Routing) -> Tensor:
    """Runs of neighbouring keys in the place of clusters, judged by the same score."""

    def cluster(keys: Tensor, size: int) -> KeyClusters:
        *lead, block, depth = keys.shape
        runs = keys.float().view(*lead, block // size, size, depth)
        members = torch.arange(block, device=keys.device).view(-1, size).expand(runs.shape[:-1])
        return KeyClusters(members, runs.mean(-2), runs.var(-2, unbiased=False))

    return routed_attention(q, k, v, routing, cluster=cluster)


def oracle(q: Tensor, k: Tensor, v: Tensor, routing: Routing) -> Tensor:
    """The keys that dense attention weighs most, in the sum over the heads of a group."""
    pieces = []
    for start, stop in _spans(q, k):
        asking, keys = _of(q, k, start, stop), k[:, :stop]
        hidden = later_keys(stop - start, stop, k.device)
        if stop > routing.budget:
            logits = (asking @ keys.unsqueeze(1).mT).float() * q.shape[-1] ** -0.5
            weights = logits.masked_fill_(hidden, -torch.inf).softmax(-1).sum(1)  # (KV, T, S)
            # More keys than the budget only where weights are equal.
            least = weights.topk(routing.budget, -1, sorted=False).values.amin(-1, keepdim=True)
            hidden = hidden | (weights < least)
        pieces.append(_masked(asking, keys, v[:, :stop], hidden))
    return torch.cat(pieces, 1)


METHODS: dict[str, Attention] = {
    "local": local,
    "random": random,
    "contiguous": contiguous,
    "routed": routed_attention,
    "oracle": oracle,
}


def register_methods(routing: Routing) -> dict[str, tuple[str, str]]:
    """Names for `set_attn_implementation` while a text is read, and while it is gone on with."""
    for name, method in METHODS.items():
        AttentionInterface.register(_NAME.format(name), partial(_interface, method, routing))
        AttentionMaskInterface.register(_NAME.format(name), real_keys)
    routed = _NAME.format("routed")
    alike = {name: (_NAME.format(name),) * 2 for name in METHODS}
    return {"dense": (_DENSE, _DENSE), **alike, WRITTEN: (_DENSE, routed)}


def _interface(
    method: Attention,
    routing: Routing,
    module: object,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_: object,
    **__: object,
) -> tuple[Tensor, None]:
    out = method(query[0], key[0], value[0], routing)  # texts come one by one
    return out.transpose(0, 1).unsqueeze(0).contiguous(), None


def _spans(q: Tensor, k: Tensor) -> list[tuple[int, int]]:
    first, length = k.shape[1] - q.shape[1], k.shape[1]
    return [(a, min(a + _QUERIES, length)) for a in range(first, length, _QUERIES)]


def _of(q: Tensor, k: Tensor, start: int, stop: int) -> Tensor:
    """The queries from `start` to `stop`, by the keys' heads: (KV, G, T, D)."""
    first = k.shape[1] - q.shape[1]
    return q[:, start - first : stop - first].reshape(len(k), -1, stop - start, q.shape[-1])


def _masked(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    """Attention of q (KV, G, T, D) to k and v (KV, S, D), hidden (T, S) or (KV, T, S)."""
    mask = q.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
    mask = mask.expand(len(k), *mask.shape[-2:]).unsqueeze(1)
    k, v = (x.unsqueeze(1).expand(-1, q.shape[1], -1, -1) for x in (k, v))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask).flatten(0, 1)
