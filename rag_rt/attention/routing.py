"""Attention among the positions that fit the same cluster best (Roy et al. 2021 §4; SPEC §4).

Each cluster takes the W positions of the whole sequence that score highest with its centroid, and
these attend to each other in the order of the sequence. A position may be in several clusters, or
in none. Its relative distance to another is the difference of their ranks in the window.
"""

import torch
from torch import Tensor

from rag_rt.attention.dense import attend, later_keys, zero_rows
from rag_rt.attention.relative import RelativeTables

# Added to the number of clusters that a position is in, so that one in none gets 0 (SPEC §4.6).
COUNT_OFFSET = 0.01


def top_windows(scores: Tensor, size: int) -> Tensor:
    """The `size` best positions of each cluster, ascending; of equals the earlier (SPEC §4.3-4).

    scores (B, H, C, L) to indices (B, H, C, W).
    """
    worst = scores.kthvalue(scores.shape[-1] - size + 1, dim=-1, keepdim=True).values
    better, equal = scores > worst, scores == worst
    room = size - better.sum(-1, keepdim=True)
    chosen = better | (equal & (equal.cumsum(-1) <= room))
    return chosen.nonzero()[:, -1].view(*scores.shape[:-1], size)


def strided_windows(scores: Tensor, size: int) -> Tensor:
    """Every ⌊L/W⌋-th position from the best to the worst, ascending (SPEC §4.7).

    scores (B, H, C, L) to indices (B, H, C, W).
    """
    ranked = scores.sort(dim=-1, descending=True, stable=True).indices
    return ranked[..., :: scores.shape[-1] // size][..., :size].sort(-1).values


def _rows(windows: Tensor, length: int) -> Tensor:
    """Where the positions of windows (B, H, C, W) stand in a tensor (B·H·L, …), flattened."""
    batch, heads = windows.shape[:2]
    starts = torch.arange(batch * heads, device=windows.device) * length
    return (windows + starts.view(batch, heads, 1, 1)).flatten()


def gathered(x: Tensor, windows: Tensor) -> Tensor:
    """The rows of x (B, H, L, D) at windows (B, H, C, W): (B, H, C, W, D)."""
    rows = x.flatten(0, 2).index_select(0, _rows(windows, x.shape[2]))
    return rows.view(*windows.shape, x.shape[-1])


def scattered(outputs: Tensor, windows: Tensor, length: int) -> Tensor:
    """Average what clusters say of a position: (B, H, C, W, D) to (B, H, L, D) (SPEC §4.6)."""
    batch, heads = windows.shape[:2]
    rows = _rows(windows, length)
    flat = outputs.flatten(0, 3)
    total = flat.new_zeros(batch * heads * length, flat.shape[-1]).index_add(0, rows, flat)
    count = torch.bincount(rows, minlength=batch * heads * length)
    average = (total / (count + COUNT_OFFSET).unsqueeze(-1)).to(outputs.dtype)
    return average.view(batch, heads, length, -1)


def routed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_windows: Tensor,
    key_windows: Tensor,
    *,
    causal: bool,
    padding: Tensor | None = None,
    relative: RelativeTables | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of each cluster's queries to the same cluster's keys (SPEC §4.5).

    Args:
        q: (B, H, L, D), on the sphere; logits are not scaled.
        k: (B, H, S, D), on the sphere.
        v: (B, H, S, D).
        query_windows: (B, H, C, W), ascending positions of the queries.
        key_windows: (B, H, C, W), ascending positions of the keys.
        causal: hide keys of a higher rank than the query's. With windows that differ this is not
            causal in the sequence; the official program does the same.
        padding: bool (B, S), True where a key is padding.
        relative: tables of relative positions, by rank.
        dropout: of attention weights.

    Returns:
        (B, H, L, D); zero for positions in no cluster.
    """
    size = query_windows.shape[-1]
    values = gathered(v, key_windows)  # (B, H, C, W, D)
    unseen = zero_rows(values)  # (B, H, C, W)
    if padding is not None:
        sources = padding[:, None, None, :].expand(*key_windows.shape[:3], -1)
        unseen = unseen | sources.gather(-1, key_windows)
    out = attend(
        gathered(q, query_windows),
        gathered(k, key_windows),
        values,
        unseen=unseen,
        pattern=later_keys(size, size, q.device) if causal else None,
        relative=relative,
        dropout=dropout,
    )
    return scattered(out, query_windows, q.shape[2])
