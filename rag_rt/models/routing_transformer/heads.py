"""Attention heads of several kinds, with what they learn: tables and centroids.

Glossary as in `rag_rt.attention`; E hidden size.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rag_rt.attention.centroids import (
    CentroidState,
    cluster_scores,
    kmeans_losses,
    on_sphere,
    updated_centroids,
)
from rag_rt.attention.local import causal_blocks, local_attention, strided_attention
from rag_rt.attention.relative import RelativeTables
from rag_rt.attention.routing import routed_attention, strided_windows, top_windows
from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig

# Of cluster-strided heads always, whatever the hyperparameters say (SPEC §4.7).
STRIDED_BETA, STRIDED_DECAY = 1e-4, 0.99


class Memory(NamedTuple):
    """What a layer attends to beside its own input, and what it must not see of it."""

    states: Tensor | None = None  # (B, S, E), the encoder's output; None: the layer's own input
    padding: Tensor | None = None  # bool (B, S), True where there is padding
    first: Tensor | None = None  # (B, L), where an equal position stands first; None: all differ


class Routed(NamedTuple):
    """What routing heads give: (B, H, L, D), windows (B, H, C, W) and the k-means loss."""

    out: Tensor
    query_windows: Tensor
    key_windows: Tensor
    loss: Tensor


class RelativePositions(nn.Module):
    """Tables of relative positions, one pair for all heads of a kind in a layer."""

    def __init__(self, farthest: int, key_depth: int, value_depth: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.empty(2 * farthest + 1, key_depth))
        self.values = nn.Parameter(torch.empty(2 * farthest + 1, value_depth))

    def forward(self) -> RelativeTables:
        """The tables."""
        return RelativeTables(self.keys, self.values)


class LocalHeads(nn.Module):
    """Heads that attend to the neighbourhood of a block."""

    def __init__(
        self, config: RoutingTransformerConfig, heads: int, *, causal: bool, cross: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query_block = config.query_shape
        # In an encoder the blocks of keys are those of queries; SPEC §3.1.
        self.memory_block = config.memory_query_shape if cross else config.query_shape
        self.flange = config.memory_flange
        self.dropout = config.attention_dropout
        with_positions = config.local_relative and not cross
        self.relative = _relative(config) if with_positions else None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
        """Attend: q (B, H, L, D), k and v (B, H, S, D) to (B, H, L, D)."""
        return local_attention(
            q,
            k,
            v,
            query_block=self.query_block,
            memory_block=self.memory_block,
            flange=self.flange,
            causal=self.causal,
            padding=padding,
            relative=self.relative() if self.relative else None,
            dropout=self.dropout if self.training else 0.0,
        )

    def blocks(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend causally, given the F keys before: q (B, H, L, D), k and v (B, H, F+L, D)."""
        relative = self.relative() if self.relative else None
        return causal_blocks(
            q, k, v, query_block=self.query_block, flange=self.flange, relative=relative
        )


class StridedHeads(nn.Module):
    """Heads that attend to the same offset of all earlier blocks."""

    def __init__(self, config: RoutingTransformerConfig) -> None:
        super().__init__()
        self.heads = config.sparsity_strided_num_heads
        self.query_block = config.query_shape
        self.dropout = config.attention_dropout
        self.relative = _relative(config) if config.sparsity_strided_relative else None

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend: all of q, k, v (B, H, L, D)."""
        return strided_attention(
            q,
            k,
            v,
            query_block=self.query_block,
            relative=self.relative() if self.relative else None,
            dropout=self.dropout if self.training else 0.0,
        )


class RoutingHeads(nn.Module):
    """Heads that attend within clusters of similar positions."""

    means: Tensor
    ema_count: Tensor
    ema_means: Tensor

    def __init__(
        self,
        config: RoutingTransformerConfig,
        *,
        causal: bool,
        cross: bool,
        strided: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.strided = strided
        if strided:
            self.heads = config.sparsity_cluster_strided_num_heads
            self.beta, self.decay = STRIDED_BETA, STRIDED_DECAY
            with_positions = config.sparsity_cluster_strided_relative
        else:
            self.heads = config.sparsity_cluster_num_heads
            self.beta, self.decay = config.beta, config.decay
            with_positions = config.sparsity_cluster_relative
        # Only a decoder's own routing heads can share (SPEC §3.3, §4.7).
        self.share_qk = config.share_qk and causal and not strided
        self.window = config.sparsity_cluster_attention_window
        self.dropout = config.attention_dropout
        self.ema = config.ema
        shape = (self.heads, config.sparsity_cluster_size)
        means = torch.empty(*shape, config.key_channels // config.num_attention_heads)
        if self.ema:
            self.register_buffer("means", means)
            self.register_buffer("ema_count", torch.empty(shape))
            self.register_buffer("ema_means", torch.empty_like(means))
        else:
            self.means = nn.Parameter(means)
        self.relative = _relative(config) if with_positions and not cross else None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, memory: Memory) -> Routed:
        """Attend: q (B, H, L, D), already scaled; k and v (B, H, S, D)."""
        q = on_sphere(q)
        query_windows, loss = self._routed(q, memory.first)
        if self.share_qk:
            k, key_windows, loss = q, query_windows, 2 * loss  # both count (SPEC §5)
        else:
            k = on_sphere(k)
            key_windows, key_loss = self._routed(k, memory.first)
            loss = loss + key_loss
        out = routed_attention(
            q.to(v.dtype),
            k.to(v.dtype),
            v,
            query_windows,
            key_windows,
            causal=self.causal,
            padding=memory.padding,
            relative=self.relative() if self.relative else None,
            dropout=self.dropout if self.training else 0.0,
        )
        return Routed(out, query_windows, key_windows, loss)

    def _routed(self, x: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Windows (B, H, C, W) of x (B, H, L, D), and the loss; in training centroids follow."""
        scores = cluster_scores(x, self.means)  # (B, H, C, L)
        if first is not None:
            scores = scores.gather(-1, first[:, None, None].expand_as(scores))
        windows = (strided_windows if self.strided else top_windows)(scores, self.window)
        nearest = scores.argmax(2)  # (B, H, L)
        losses = kmeans_losses(x, self.means, nearest)
        if not self.ema:
            return windows, losses.quantisation + self.beta * losses.commitment
        if self.training:
            state = CentroidState(self.means, self.ema_count, self.ema_means)
            state = updated_centroids(state, x, nearest, self.decay)
            self.means.copy_(state.means)
            self.ema_count.copy_(state.ema_count)
            self.ema_means.copy_(state.ema_means)
        return windows, self.beta * losses.commitment


def _relative(config: RoutingTransformerConfig) -> RelativePositions:
    heads = config.num_attention_heads
    return RelativePositions(
        config.max_relative_position, config.key_channels // heads, config.value_channels // heads
    )
