"""The keys and values of one sequence, in tiles that the kernels read."""

import numpy as np
import torch
from torch import Tensor

from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_decoder.clustering import (
    Indices,
    order_by_cluster,
    reorder,
    summarise,
)
from rag_rt.models.routed_decoder.compiling import threads, use_threads
from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.layout import Array
from rag_rt.models.routed_decoder.packing import array
from rag_rt.models.routed_decoder.vectors import LANES, TILE


class CachedRow:
    """One sequence. Glossary: L layers, KV heads, D head size, S capacity, a tile is 4 keys.

    When a block is complete its keys are clustered, and keys and values change places within the
    block so that each tile is a cluster. Attention does not see the order of keys.

    Attributes:
        keys: (L, KV, S/4, D/4, 4 keys, 4 of D), after rotary embedding.
        values: (L, KV, S, D).
        clusters: mean and variance of the clusters (L, KV, ⌈S/64⌉, 2 D, 16); cluster c is
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
        self._order: list[Indices] = []  # (L · KV, B): where the keys of each cluster came from
        tiles, groups = self.capacity // TILE, -(-self.capacity // (TILE * LANES))
        heads = (config.layers, config.kv_heads)
        # Zeros, since what is masked is multiplied by 0, which does not mend a NaN.
        self.keys = _zeros(dtype, *heads, tiles, config.head_size // TILE, TILE, TILE)
        self.values = _zeros(dtype, *heads, self.capacity, config.head_size)
        self.clusters = _zeros(dtype, *heads, groups, 2 * config.head_size, LANES)

    @property
    def room_before_clustering(self) -> int:
        """Tokens that can be appended before a block must be clustered."""
        routing = self._routing
        if routing is None:
            return self.capacity - self.length
        return routing.sinks + (self._clustered + 1) * routing.block - self.length

    def advance(self, count: int) -> None:
        """Count tokens whose keys and values were written; cluster blocks that they complete."""
        self.length += count
        while self._routing is not None and self.room_before_clustering <= 0:
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
            start, _ = self._span(self._clustered)
            use_threads(threads())
            reorder(*self._by_head, start, self._order.pop().argsort(-1))

    def before(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """The first keys and values of a layer, (KV, length, D) each, in one order."""
        tiles = -(-length // TILE)
        keys = self.keys[layer, :, :tiles].transpose(2, 3)  # (KV, tiles, 4 keys, D/4, 4)
        return keys.flatten(3).flatten(1, 2)[:, :length], self.values[layer, :, :length]

    def _span(self, block: int) -> tuple[int, int]:
        assert self._routing is not None
        start = self._routing.sinks + block * self._routing.block
        return start, start + self._routing.block

    def _cluster_next_block(self, routing: Routing) -> None:
        start, stop = self._span(self._clustered)
        keys, values = self._by_head
        order = np.empty((len(keys), routing.block), np.int64)
        use_threads(threads())
        order_by_cluster(keys, start, order)
        reorder(keys, values, start, order)
        first = (start - routing.sinks) // TILE
        clusters = array(self.clusters.flatten(0, 1))
        summarise(keys, start // TILE, stop // TILE, clusters, first)
        self._order.append(order)
        self._clustered += 1

    @property
    def _by_head(self) -> tuple[Array, Array]:
        """Keys and values of all layers as the kernels of clustering see them."""
        return array(self.keys.flatten(0, 1)), array(self.values.flatten(0, 1))


def _zeros(dtype: torch.dtype, *shape: int) -> Tensor:
    """Zeros in memory of numpy's, which asks for huge pages."""
    bits = np.float32 if dtype == torch.float32 else np.uint16
    return torch.from_numpy(np.zeros(shape, bits)).view(dtype)
