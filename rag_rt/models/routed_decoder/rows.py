"""The keys and values of one sequence, in tiles that the kernels read."""

import torch
from torch import Tensor

from rag_rt.attention.key_clusters import cluster_keys
from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.simd import LANES


class CachedRow:
    """One sequence. Glossary: L layers, KV heads, D head size, S capacity, a tile is 16 positions.

    When a block is complete its keys are clustered, and keys and values change places within the
    block so that each tile is a cluster. Attention does not see the order of keys.

    Attributes:
        keys: (L, KV, S/16, D, 16), after rotary embedding.
        values: (L, KV, S, D).
        clusters: mean and variance of the clusters, float32 (L, KV, ⌈S/256⌉, 2 D, 16); cluster c is
            tile c after those of the sinks.
        length: tokens held.
    """

    def __init__(
        self, config: DecoderConfig, capacity: int, dtype: torch.dtype, routing: Routing | None
    ) -> None:
        self.capacity = -(-capacity // LANES) * LANES
        self.length = 0
        self._routing = routing
        self._clustered = 0  # blocks
        self._order: list[Tensor] = []  # of each clustered block: (L, KV, B), where a key came from
        tiles, groups = self.capacity // LANES, -(-self.capacity // LANES**2)
        heads = (config.layers, config.kv_heads)
        # Zeros, since what is masked is multiplied by 0, which does not mend a NaN.
        self.keys = torch.zeros(*heads, tiles, config.head_size, LANES, dtype=dtype)
        self.values = torch.zeros(*heads, self.capacity, config.head_size, dtype=dtype)
        self.clusters = torch.zeros(*heads, groups, 2 * config.head_size, LANES)

    @property
    def room_before_clustering(self) -> int:
        """Tokens that can be appended before a block must be clustered."""
        routing = self._routing
        if routing is None:
            return self.capacity - self.length
        return routing.sinks + (self._clustered + 1) * routing.block - self.length

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Put keys and values (T, KV, D) of the next T positions into a layer."""
        positions = torch.arange(self.length, self.length + len(keys))
        self.keys[layer].permute(1, 3, 0, 2)[positions // LANES, positions % LANES] = keys
        self.values[layer].transpose(0, 1)[positions] = values

    def advance(self, count: int) -> None:
        """Count tokens whose keys and values were written; cluster a block that they complete."""
        self.length += count
        if self._routing is not None and self.room_before_clustering == 0:
            self._cluster_next_block(self._routing)

    def truncate(self, length: int) -> None:
        """Forget the tokens after the first `length`."""
        self.length = length
        while (
            self._routing is not None
            and self._clustered
            and self.room_before_clustering > self._routing.block
        ):
            self._clustered -= 1
            order = self._order.pop()
            self._reorder(self._clustered, order.argsort(-1))

    def natural_keys(self, layer: int, length: int) -> Tensor:
        """Keys (KV, D, length) of a layer, the first ones, each block in its own order."""
        tiles = -(-length // LANES)
        kv, _, size, _ = self.keys[layer].shape
        return self.keys[layer, :, :tiles].transpose(1, 2).reshape(kv, size, -1)[..., :length]

    def _span(self, block: int) -> tuple[int, int]:
        assert self._routing is not None
        start = self._routing.sinks + block * self._routing.block
        return start, start + self._routing.block

    def _cluster_next_block(self, routing: Routing) -> None:
        start, stop = self._span(self._clustered)
        tiles = slice(start // LANES, stop // LANES)
        keys = self.keys[:, :, tiles].transpose(-1, -2).flatten(2, 3).float()  # (L, KV, B, D)
        found = cluster_keys(keys, routing.cluster)
        order = found.members.flatten(-2)
        self._reorder(self._clustered, order)
        self._order.append(order)
        statistics = torch.cat([found.mean, found.variance], -1)  # (L, KV, C, 2 D)
        first = (start - routing.sinks) // LANES
        numbers = torch.arange(first, first + statistics.shape[2])
        self.clusters.permute(2, 4, 0, 1, 3)[numbers // LANES, numbers % LANES] = (
            statistics.permute(2, 0, 1, 3)
        )
        self._clustered += 1

    def _reorder(self, block: int, order: Tensor) -> None:
        """Position i of a block takes what position order[i] held: order (L, KV, B)."""
        start, stop = self._span(block)
        tiles = slice(start // LANES, stop // LANES)
        keys = self.keys[:, :, tiles].transpose(-1, -2)  # (L, KV, C, 16, D)
        index = order.unsqueeze(-1).expand(*order.shape, keys.shape[-1])
        flat = keys.flatten(2, 3)
        keys[:] = flat.gather(2, index).view(keys.shape)
        values = self.values[:, :, start:stop]
        values[:] = values.gather(2, index)
