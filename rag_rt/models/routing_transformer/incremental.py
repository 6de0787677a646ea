"""Decoding that never recomputes the past: causal routing with a cache of fixed size per layer.

`docs/routing-transformer.md` states how it differs from the published function.

Glossary as in `rag_rt.attention`; E hidden size. Rows of a batch may have unequal lengths: of each
row's L new positions the first `added` count.
"""

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rag_rt.attention.causal_local import local_chunk, local_step
from rag_rt.attention.causal_routing import admitted, cluster_chunk, cluster_step
from rag_rt.attention.centroids import cluster_scores, on_sphere
from rag_rt.attention.rings import extended
from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.errors import InputError
from rag_rt.models.routing_transformer.heads import LocalHeads, RoutingHeads
from rag_rt.models.routing_transformer.layers import Attention

CHUNK = 512  # tokens between two signs of progress: two blocks of the published model
_GROWTH = 1024  # positions by which the memory of scores grows


def require_incremental(config: RoutingTransformerConfig) -> None:
    """Check that a model can be decoded incrementally.

    Raises:
        InputError: it has heads without a causal counterpart.
    """
    field = config.not_causal
    if field is not None:
        raise InputError(
            "decoding",
            "must be 'exact' for a model with an encoder, with strided heads or without "
            f"share_qk, found 'incremental' and {field} {getattr(config, field)!r}",
        )


class LocalMemory:
    """Keys and values of the positions that a block's queries can see."""

    def __init__(self, heads: LocalHeads, like: Tensor, value_like: Tensor) -> None:
        slots = heads.flange + heads.query_block
        self.keys = like.new_zeros(*like.shape[:2], slots, like.shape[-1])
        self.values = like.new_zeros(*value_like.shape[:2], slots, value_like.shape[-1])

    def attend(
        self, heads: LocalHeads, q: Tensor, k: Tensor, v: Tensor, length: Tensor, added: Tensor
    ) -> Tensor:
        """Attention of new positions, which are remembered: (B, H, L, D) each."""
        relative = heads.relative() if heads.relative else None
        shape = {"query_block": heads.query_block, "flange": heads.flange}
        if q.shape[2] == 1 and bool((added == 1).all()):
            rows = torch.arange(len(length), device=q.device)
            slot = length % self.keys.shape[2]
            self.keys[rows, :, slot], self.values[rows, :, slot] = k[:, :, 0], v[:, :, 0]
            rings = (self.keys, self.values)
            return local_step(q, rings, length + 1, relative=relative, **shape)
        rings = (self.keys, self.values)
        out = local_chunk(q, k, v, rings, length, relative=relative, **shape)
        counts = (length[:, None], added[:, None])  # the same for all heads
        self.keys, self.values = extended(self.keys, k, *counts), extended(self.values, v, *counts)
        return out

    def select(self, rows: Tensor) -> None:
        """Keep some rows of the batch, in any order."""
        self.keys, self.values = self.keys[rows], self.values[rows]


class ClusterMemory:
    """The latest members of each cluster, how many there were, and every position's scores."""

    def __init__(self, heads: RoutingHeads, like: Tensor, value_like: Tensor) -> None:
        clusters = (*like.shape[:2], heads.means.shape[1])
        self.keys = like.new_zeros(*clusters, heads.window, like.shape[-1])
        self.values = like.new_zeros(*clusters, heads.window, value_like.shape[-1])
        self.count = torch.zeros(clusters, dtype=torch.long, device=like.device)
        self.scores = torch.empty(*clusters, 0, device=like.device)

    def attend(
        self,
        heads: RoutingHeads,
        horizon: int,
        q: Tensor,
        v: Tensor,
        length: Tensor,
        added: Tensor,
    ) -> Tensor:
        """Attention of new positions, which are remembered: (B, H, L, D) each."""
        relative = heads.relative() if heads.relative else None
        q = on_sphere(q)
        columns = torch.arange(q.shape[2], device=q.device)
        position = length.unsqueeze(-1) + columns  # (B, L)
        real = columns < added.unsqueeze(-1)
        scores = cluster_scores(q, heads.means)
        q = q.to(v.dtype)
        longest = int(length.max())
        member = admitted(scores, self.scores[..., :longest], position, heads.window, horizon)
        member &= real[:, None, None]
        self._remember(scores, position, real)
        rings = (self.keys, self.values)
        if q.shape[2] == 1 and bool(real.all()):
            joins = member[..., 0]
            batch, head, cluster = joins.nonzero(as_tuple=True)
            slot = self.count[batch, head, cluster] % heads.window
            self.keys[batch, head, cluster, slot] = q[batch, head, 0]
            self.values[batch, head, cluster, slot] = v[batch, head, 0]
            self.count += joins
            return cluster_step(q, joins, rings, self.count, relative)
        out, keys, values = cluster_chunk(q, v, member, rings, self.count, relative)
        joined = member.sum(-1)
        self.keys = extended(self.keys, keys, self.count, joined)
        self.values = extended(self.values, values, self.count, joined)
        self.count = self.count + joined
        return out

    def select(self, rows: Tensor) -> None:
        """Keep some rows of the batch, in any order."""
        self.keys, self.values = self.keys[rows], self.values[rows]
        self.count, self.scores = self.count[rows], self.scores[rows]

    def _remember(self, scores: Tensor, position: Tensor, real: Tensor) -> None:
        missing = int(position.max()) + 1 - self.scores.shape[-1]
        if missing > 0:
            room = scores.new_full((*scores.shape[:3], max(missing, _GROWTH)), -torch.inf)
            self.scores = torch.cat([self.scores, room], -1)
        row, column = real.nonzero(as_tuple=True)
        self.scores[row, :, :, position[row, column]] = scores[row, :, :, column]


class IncrementalCache:
    """What is remembered of the positions decoded so far."""

    is_compileable = False  # transformers asks

    def __init__(self, config: RoutingTransformerConfig) -> None:
        self.horizon = config.max_target_length
        self.length: Tensor | None = None  # (B), positions of each row
        self.tokens = 0  # columns of input ids read, padding included
        self.local: list[LocalMemory | None] = [None] * config.num_decoder_layers
        self.clusters: list[ClusterMemory | None] = [None] * config.num_decoder_layers

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens read, as transformers asks for it."""
        return self.tokens

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep some rows of the batch, in any order, as beam search does."""
        for memory in (*self.local, *self.clusters):
            if memory is not None:
                memory.select(beam_idx)
        if self.length is not None:
            self.length = self.length[beam_idx]

    def attend(self, number: int, attention: Attention, x: Tensor, added: Tensor) -> Tensor:
        """A layer's attention of new positions: x (B, L, E) to (B, L, E)."""
        assert self.length is not None
        q, k, v = attention.projected(x, x)
        outputs = []
        start = 0
        if (routing := attention.routing) is not None:
            heads = slice(0, start := routing.heads)
            clusters = self.clusters[number] or ClusterMemory(routing, q[:, heads], v[:, heads])
            self.clusters[number] = clusters
            outputs.append(
                clusters.attend(routing, self.horizon, q[:, heads], v[:, heads], self.length, added)
            )
        if (local := attention.local) is not None:
            heads = slice(start, None)
            memory = self.local[number] or LocalMemory(local, k[:, heads], v[:, heads])
            self.local[number] = memory
            outputs.append(
                memory.attend(local, q[:, heads], k[:, heads], v[:, heads], self.length, added)
            )
        return attention.merged(torch.cat(outputs, 1))

    def decode(self, layers: nn.ModuleList, x: Tensor, added: Tensor) -> Tensor:
        """Run the decoder's layers over new positions: x (B, L, E) to (B, L, E)."""
        part: Any  # a sublayer
        for number, layer in enumerate(layers):
            part = layer.self_attention
            x = part.after(self.attend(number, part.body, part.before(x), added), x)
            part = layer.feed_forward
            x = part.after(part.body(part.before(x)), x)
        assert self.length is not None
        self.length = self.length + added
        return x

    @classmethod
    def empty(cls, config: RoutingTransformerConfig) -> Self:
        """A cache without any position.

        Raises:
            InputError: the model cannot be decoded incrementally.
        """
        require_incremental(config)
        return cls(config)


@torch.no_grad()
def read_in_chunks(
    model: PreTrainedModel, ids: Tensor, progress: Callable[[int, int], None]
) -> IncrementalCache:
    """What a model remembers of a text (B, T), read with its progress told.

    Raises:
        InputError: the model cannot be decoded incrementally, or cannot read the ids.
    """
    cache = IncrementalCache.empty(cast("RoutingTransformerConfig", model.config))
    for start in range(0, ids.shape[1], CHUNK):
        chunk = ids[:, start : start + CHUNK]
        model(chunk, past_key_values=cache, use_cache=True, logits_to_keep=1)
        progress(start + chunk.shape[1], ids.shape[1])
    return cache
