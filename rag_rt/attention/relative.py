"""Relative positions in keys and values (Shaw et al. 2018), without a (Q, K, D) tensor.

A table has one row for each distance from -R to R. A group of Q queries and K keys has only
Q + K - 1 distances, so queries are multiplied once with each distance's row, and the products are
slid into place: query i finds distance j - i at column j.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class RelativeTables(NamedTuple):
    """Rows for the distances -R … R: `keys` (2R+1, D) and `values` (2R+1, D)."""

    keys: Tensor
    values: Tensor


def distance_rows(table: Tensor, queries: int, keys: int) -> Tensor:
    """The rows of all distances in a group, ascending, (Q+K-1, D); farther than R reads row R.

    The queries are the last Q of the K key positions (tensor2tensor's rule), so that distances
    run from -(K-1) to Q-1.
    """
    farthest = table.shape[0] // 2
    distances = torch.arange(-(keys - 1), queries, device=table.device)
    return table[distances.clamp(-farthest, farthest) + farthest]


def by_key(by_distance: Tensor, keys: int) -> Tensor:
    """From a column for each distance (…, Q, Q+K-1) to a column for each key (…, Q, K)."""
    queries, distances = by_distance.shape[-2:]
    if queries == 1:
        return by_distance
    # Key j of query i stands at i * distances + (Q-1) + j - i of the flattened rows.
    flat = by_distance.flatten(-2)[..., queries - 1 :]
    return flat.unfold(-1, keys, distances - 1)[..., :queries, :]


def by_distance(by_key: Tensor) -> Tensor:
    """The inverse of `by_key`: (…, Q, K) to (…, Q, Q+K-1), zero where a query has no key."""
    queries, keys = by_key.shape[-2:]
    if queries == 1:
        return by_key
    flat = pad(by_key, (0, queries - 2)).flatten(-2)
    return torch.unflatten(pad(flat, (queries - 1, 1)), -1, (queries, queries + keys - 1))


def relative_logits(q: Tensor, table: Tensor, keys: int) -> Tensor:
    """q_i · table[clip(j - i)]: q (…, Q, D) to (…, Q, K)."""
    return by_key(q @ distance_rows(table, q.shape[-2], keys).mT, keys)


def relative_values(weights: Tensor, table: Tensor) -> Tensor:
    """Σ_j weights_ij table[clip(j - i)]: weights (…, Q, K) to (…, Q, D)."""
    queries, keys = weights.shape[-2:]
    return by_distance(weights) @ distance_rows(table, queries, keys)
