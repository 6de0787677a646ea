"""The clusters of `rag_rt.attention.key_clusters`, compiled: a block of all layers and heads.

Keys and values are those of a row. Glossary: N heads of all layers, S positions, D head size, B
keys of a block. Keys (N, S/4, D/4, 4 keys, 4 of D) and values (N, S, D) hold float32, or bfloat16
as uint16.
"""

import numba
import numpy as np
import numpy.typing as npt

from rag_rt.attention.key_clusters import POWER_STEPS
from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import Array, Floats
from rag_rt.models.routed_decoder.simd import narrowed, widened
from rag_rt.models.routed_decoder.vectors import LANES, TILE

Indices = npt.NDArray[np.int64]


@compiled(fast=True)
def _dot(x: Floats, i: int, y: Floats, j: int) -> np.float32:
    total = np.float32(0)
    for d in range(x.shape[1]):
        total += x[i, d] * y[j, d]
    return total


@compiled()
def _halve(keys: Floats, members: Indices, x: Floats, along: Floats) -> None:
    """Sorts the members of a group along the direction in which their keys (B, D) vary most."""
    count, size = len(members), keys.shape[1]
    mean, direction = np.zeros(size, np.float32), np.empty((1, size), np.float32)
    for i in range(count):
        for d in range(size):
            mean[d] += keys[members[i], d]
    for d in range(size):
        mean[d] /= np.float32(count)
    farthest, distance = 0, np.float32(-1)
    for i in range(count):
        for d in range(size):
            x[i, d] = keys[members[i], d] - mean[d]
        found = _dot(x, i, x, i)
        if found > distance:
            farthest, distance = i, found
    direction[0] = x[farthest]
    for _ in range(POWER_STEPS):
        turned = np.zeros((1, size), np.float32)
        for i in range(count):
            weight = _dot(x, i, direction, 0)
            for d in range(size):
                turned[0, d] += weight * x[i, d]
        length = max(np.float32(1e-12), np.sqrt(_dot(turned, 0, turned, 0)))
        for d in range(size):
            direction[0, d] = turned[0, d] / length
    for i in range(count):
        along[i] = _dot(x, i, direction, 0)
    members[:] = members[np.argsort(along[:count], kind="mergesort")]


@compiled(parallel=True)
def order_by_cluster(keys: Array, start: int, order: Indices) -> None:
    """The keys of the block at position `start`, cluster after cluster: order (N, B)."""
    block, size = order.shape[1], keys.shape[2] * TILE
    for head in numba.prange(len(keys)):
        x, along = np.empty((block, size), np.float32), np.empty(block, np.float32)
        of_block = np.empty((block, size), np.float32)
        for i in range(block):
            order[head, i] = i
            tile, place = (start + i) // TILE, (start + i) % TILE
            for d in range(size):
                of_block[i, d] = widened(keys[head, tile, d // TILE, place, d % TILE])
        count = block
        while count > TILE:
            for first in range(0, block, count):
                _halve(of_block, order[head, first : first + count], x, along)
            count //= 2


@compiled(parallel=True)
def reorder(keys: Array, values: Array, start: int, order: Indices) -> None:
    """Place i of the block at position `start` takes what place order[i] held."""
    block, parts = order.shape[1], keys.shape[2]
    for head in numba.prange(len(keys)):
        first = start // TILE
        of_keys = keys[head, first : first + block // TILE].copy()
        of_values = values[head, start : start + block].copy()
        for i in range(block):
            tile, place = order[head, i] // TILE, order[head, i] % TILE
            for part in range(parts):
                for d in range(TILE):
                    key = of_keys[tile, part, place, d]
                    keys[head, first + i // TILE, part, i % TILE, d] = key
            for d in range(values.shape[2]):
                values[head, start + i, d] = of_values[order[head, i], d]


@compiled(parallel=True)
def summarise(keys: Array, start: int, stop: int, clusters: Array, first: int) -> None:
    """Mean and variance of tiles `start` to `stop`, as clusters from `first` on.

    Clusters are (N, C/16, 2 D, 16), in the type of the keys: 16 stand side by side, first their
    means, then the variances of each dimension.
    """
    size = keys.shape[2] * TILE
    for head in numba.prange(len(keys)):
        for tile in range(start, stop):
            cluster = first + tile - start
            group, lane = cluster // LANES, cluster % LANES
            for d in range(size):
                mean = variance = np.float32(0)
                for place in range(TILE):
                    mean += widened(keys[head, tile, d // TILE, place, d % TILE])
                mean /= np.float32(TILE)
                for place in range(TILE):
                    away = widened(keys[head, tile, d // TILE, place, d % TILE]) - mean
                    variance += away * away
                variance /= np.float32(TILE)
                clusters[head, group, d, lane] = narrowed(clusters, mean)
                clusters[head, group, size + d, lane] = narrowed(clusters, variance)
