"""Relative positions in keys and values (Shaw et al. 2018), without a (Q, K, D) tensor.

A table has one row for each distance from -R to R. A group of Q queries and K keys has only
Q + K - 1 distances, so queries are multiplied once with each distance's row, and the products are
slid into place: query i finds distance j - i at column j.
"""

from typing import NamedTuple

import torch
from torch import Tensor


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


def by_key(columns: Tensor, keys: int) -> Tensor:
    """From a column for each distance (…, Q, Q+K-1) to one for each key (…, Q, K), a view.

    With K+1 columns, those of distances after 1 are missing: what stands at a key after a query's
    own is then another query's, and must be hidden.
    """
    queries, distances = columns.shape[-2:]
    if queries == 1:
        return columns
    # Key j of query i stands at i * distances + (Q-1) + j - i of the flattened rows.
    flat = columns.flatten(-2)[..., queries - 1 :]
    return flat.unfold(-1, keys, distances - 1)[..., :queries, :]


def by_distance(weights: Tensor, columns: Tensor | None = None) -> Tensor:
    """The inverse of `by_key`: (…, Q, K) to (…, Q, Q+K-1), zero where a query has no key.

    It is written into `columns`, where given: zeros, or what was written there before. They may
    be K+1 where weights of keys after a query's own are zero.
    """
    queries, keys = weights.shape[-2:]
    if queries == 1:
        return weights
    if columns is None:
        columns = weights.new_zeros(*weights.shape[:-1], queries + keys - 1)
    by_key(columns, keys).copy_(weights)
    return columns


def relative_logits(q: Tensor, rows: Tensor, keys: int) -> Tensor:
    """q_i · row of the distance j - i: q (…, Q, D), rows (Q+K-1, D) to (…, Q, K)."""
    return by_key(q @ rows.mT, keys)
