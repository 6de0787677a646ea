"""The clusters of `rag_rt.attention.key_clusters`, compiled: a block of all heads at once."""

import numba
import numpy as np
import numpy.typing as npt

from rag_rt.attention.key_clusters import POWER_STEPS
from rag_rt.models.routed_decoder.compiling import compiled

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@compiled(fast=True)
def _dot(x: Floats, y: Floats) -> np.float32:
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@compiled()
def _halve(keys: Floats, members: Indices, x: Floats, along: Floats) -> None:
    """Sorts the members of a group along the direction in which their keys (B, D) vary most."""
    count, size = len(members), keys.shape[1]
    mean = np.zeros(size, np.float32)
    for i in range(count):
        mean += keys[members[i]]
    mean /= np.float32(count)
    farthest, distance = 0, np.float32(-1)
    for i in range(count):
        x[i] = keys[members[i]] - mean
        found = _dot(x[i], x[i])
        if found > distance:
            farthest, distance = i, found
    direction = x[farthest].copy()
    for _ in range(POWER_STEPS):
        turned = np.zeros(size, np.float32)
        for i in range(count):
            turned += _dot(x[i], direction) * x[i]
        direction = turned / max(np.float32(1e-12), np.sqrt(_dot(turned, turned)))
    for i in range(count):
        along[i] = _dot(x[i], direction)
    members[:] = members[np.argsort(along[:count], kind="mergesort")]


@compiled(parallel=True)
def cluster_blocks(keys: Floats, members: Indices, size: int) -> None:
    """Members (N, B), in clusters of `size` one after another, of N blocks of keys (N, B, D)."""
    for block in numba.prange(len(keys)):
        count = keys.shape[1]
        x, along = np.empty_like(keys[block]), np.empty(count, np.float32)
        for i in range(count):
            members[block, i] = i
        while count > size:
            for start in range(0, keys.shape[1], count):
                _halve(keys[block], members[block, start : start + count], x, along)
            count //= 2
