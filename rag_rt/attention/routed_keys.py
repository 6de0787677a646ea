"""Attention of a query to the keys that it is likely to weigh, under a budget: the reference.

A retrofit of the Routing Transformer's idea (Roy et al. 2021 §4.1) to models that were trained
with dense attention. Keys are clustered, queries are not: a query reads the clusters whose keys it
would weigh most. Keys are taken as they are cached, after rotary embedding.

    position  0 ‥ sinks │ block 0 │ block 1 │ … │ block b ‥ p
    p reads   all       │ the best clusters of these │ all

Whatever a query at position p reads is settled by positions up to p: a block is clustered when it
is complete, of its own keys. So no suffix changes an earlier result, and a sequence may arrive in
pieces of any length.

Glossary of this file: H query heads, KV heads of keys, G = H / KV query heads that share keys, T
queries (the last T positions), S positions, C clusters, D depth of a head.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rag_rt.attention.dense import later_keys
from rag_rt.attention.key_clusters import CLUSTER_SIZE, KeyClusters, cluster_keys


@dataclass(frozen=True, slots=True)
class Routing:
    """Which keys a query reads. The figures behind the defaults are in docs/LOG.md.

    Raises:
        ValueError: a block and the sinks do not fit the budget, or clusters do not fill a block.
    """

    budget: int = 1024  # keys that a query reads at most: an eighth of SmolLM2's context
    block: int = 256  # a query reads its own block whole, and clusters of the earlier ones
    sinks: int = 16  # first keys, which every query weighs (Xiao et al. 2024)
    cluster: int = CLUSTER_SIZE
    spread: float = 0.25  # of the variance; ½ were exact if keys were normal and clusters endless

    def __post_init__(self) -> None:
        parts = self.block // max(1, self.cluster)
        if self.cluster < 1 or parts < 1 or parts * self.cluster != self.block or parts & parts - 1:
            raise ValueError(
                f"block must be cluster ({self.cluster}) times a power of two, and is {self.block}"
            )
        if self.sinks < 0 or self.budget < self.sinks + self.block:
            raise ValueError(
                f"budget must hold the sinks and a block, {self.sinks} + {self.block} keys; "
                f"it is {self.budget}"
            )

    def block_of(self, position: int) -> int:
        """The block of a position; sinks count as the first block's."""
        return max(0, position - self.sinks) // self.block

    def start_of(self, block: int) -> int:
        """The first position that a query of this block reads of its own block."""
        return self.sinks + block * self.block if block else 0


Cluster = Callable[[Tensor, int], KeyClusters]
Score = Callable[[Tensor, KeyClusters, Routing], Tensor]


def cluster_scores(q: Tensor, clusters: KeyClusters, routing: Routing) -> Tensor:
    """How near some head's best a cluster is: scaled q (KV, G, T, D) to (KV, T, C).

    A head's logit of a cluster is q · mean + spread · q² · variance, one product with the two: so
    begins the logarithm of the mean of exp(q · k) over its keys. Heads differ in the size of their
    logits, and in a sum the largest would choose for all of them.
    """
    judged = torch.cat([clusters.mean, routing.spread * clusters.variance], -1)  # (KV, C, 2 D)
    q = q.to(judged.dtype)
    logits = torch.cat([q, q.square()], -1) @ judged.unsqueeze(1).mT  # (KV, G, T, C)
    best = logits.amax(-1, keepdim=True) if clusters.mean.shape[1] else 0.0
    return (logits - best).amax(1)


def routed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    routing: Routing,
    *,
    scale: float | None = None,
    cluster: Cluster = cluster_keys,
    score: Score = cluster_scores,
) -> Tensor:
    """Attention of the last T of S positions: q (H, T, D), k and v (KV, S, D) to (H, T, D).

    `scale` is D^-½ where none is given. `cluster` and `score` are replaced to compare with other
    ways to choose. This reference masks what it does not read, so it is not faster than dense.

    Raises:
        ValueError: the budget leaves a group less than a cluster for each of its heads.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    memory = _Memory.of(k, v, routing, cluster)
    q = q.reshape(len(k), -1, *q.shape[1:])  # (KV, G, T, D)
    # The best cluster of each head scores 0: with fewer to read, chance would choose among them.
    needed = routing.sinks + routing.block + q.shape[1] * routing.cluster
    if routing.budget < needed:
        raise ValueError(
            f"with {q.shape[1]} heads to a group, budget must be {needed} keys or more: the sinks, "
            f"a block, and a cluster for each head; it is {routing.budget}"
        )
    first = k.shape[1] - q.shape[2]
    pieces = []
    for start, stop in _spans(first, k.shape[1], routing):
        asking = q[:, :, start - first : stop - first]
        own = routing.start_of(routing.block_of(start))
        scores = score(asking * scale, memory.before(own, routing), routing)
        read = _best(scores, _clusters_read(start, stop, routing, scores.shape[-1]), q.dtype)
        pieces.append(_attend(asking, start, own, memory, read, scale, routing))
    return torch.cat(pieces, 2).flatten(0, 1)


class _Memory(NamedTuple):
    """Keys and values (KV, S, D), and those of complete blocks once more, cluster after cluster.

    Clusters are numbered through all blocks: `clusters` is (KV, C, …), its members are positions.
    """

    k: Tensor
    v: Tensor
    clusters: KeyClusters
    clustered_k: Tensor
    clustered_v: Tensor

    @classmethod
    def of(cls, k: Tensor, v: Tensor, routing: Routing, cluster: Cluster) -> Self:
        """Of keys of which the last is a query's: its block is not clustered."""
        blocks = routing.block_of(k.shape[1] - 1)
        stop = routing.sinks + blocks * routing.block
        complete = k[:, routing.sinks : stop].reshape(len(k), blocks, routing.block, k.shape[-1])
        made = cluster(complete, routing.cluster)
        starts = torch.arange(routing.sinks, stop, routing.block, device=k.device)
        clusters = KeyClusters(
            (made.members + starts[:, None, None]).flatten(1, 2),
            made.mean.flatten(1, 2),
            made.variance.flatten(1, 2),
        )
        positions = clusters.members.flatten(1)  # (KV, C size)
        rows = torch.arange(len(k), device=k.device).unsqueeze(1)
        return cls(k, v, clusters, k[rows, positions], v[rows, positions])

    def before(self, own: int, routing: Routing) -> KeyClusters:
        """The clusters of the blocks that end before position `own`."""
        count = max(0, own - routing.sinks) // routing.cluster
        return KeyClusters(*(part[:, :count] for part in self.clusters))


def _spans(first: int, length: int, routing: Routing) -> Iterator[tuple[int, int]]:
    """The positions from `first` on, in pieces that stand in one block."""
    while first < length:
        stop = min(length, routing.start_of(routing.block_of(first) + 1))
        yield first, stop
        first = stop


def _clusters_read(start: int, stop: int, routing: Routing, clusters: int) -> Tensor:
    """How many clusters the budget of each of some queries in a block leaves, (T,)."""
    own = routing.start_of(routing.block_of(start))
    whole = min(own, routing.sinks) + torch.arange(start, stop) - own + 1
    return ((routing.budget - whole) // routing.cluster).clamp(max=clusters)


def _best(scores: Tensor, count: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to the logits of each cluster's keys, so that the best are read: (KV, T, C).

    It is 0 for as many of the best scores (KV, T, C) as `count` (T,) says, and -inf for the others.
    """
    best = scores.topk(int(count.max()), -1).indices
    beyond = torch.arange(best.shape[-1], device=best.device) >= count.to(best.device).unsqueeze(1)
    unread = torch.full_like(scores, -torch.inf, dtype=dtype)
    kept = unread.new_zeros(beyond.shape).masked_fill_(beyond, -torch.inf)
    return unread.scatter_(-1, best, kept.expand_as(best))


def _attend(
    q: Tensor, start: int, own: int, memory: _Memory, read: Tensor, scale: float, routing: Routing
) -> Tensor:
    """q (KV, G, T, D), at `start` and on, to sinks, the clusters to `read` and their own block."""
    stop, sinks = start + q.shape[2], min(own, routing.sinks)
    by_cluster = slice(0, read.shape[-1] * routing.cluster)
    k = torch.cat(
        [memory.k[:, :sinks], memory.clustered_k[:, by_cluster], memory.k[:, own:stop]], 1
    )
    v = torch.cat(
        [memory.v[:, :sinks], memory.clustered_v[:, by_cluster], memory.v[:, own:stop]], 1
    )
    later = later_keys(stop - start, stop - own, q.device)
    mask = torch.cat(
        [
            read.new_zeros(*read.shape[:2], sinks),
            read.repeat_interleave(routing.cluster, -1),
            read.new_zeros(later.shape).masked_fill_(later, -torch.inf).expand(len(read), -1, -1),
        ],
        -1,
    )  # (KV, T, S'); of numbers, for which torch's kernel is twice as fast as for booleans
    k, v = (x.unsqueeze(1).expand(-1, q.shape[1], -1, -1) for x in (k, v))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1), scale=scale)
