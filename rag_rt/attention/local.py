"""Attention of each block of queries to its neighbourhood (Roy et al. 2021 §3; SPEC §3.1).

    decoder, flange F, block Q         encoder                      encoder-decoder
    …[ F before ][ own block ]…   …[ F ][ own block ][ F ]…   …[ F ][ source block b ][ F ]…
                  causal                  all visible               queries: target block b

A query at offset o of its block thus sees F + o + 1 positions, not a sliding window.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rag_rt.attention.dense import attend, later_keys, zero_rows
from rag_rt.attention.relative import RelativeTables


def causal_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    query_block: int,
    flange: int,
    relative: RelativeTables | None = None,
) -> Tensor:
    """Causal `local_attention` of some blocks, given the keys before them.

    Args:
        q: (B, H, L, D), already scaled; L is a multiple of `query_block`.
        k: (B, H, F+L, D); keys of zero value are hidden.
        v: (B, H, F+L, D).
        query_block: Q.
        flange: F.
        relative: tables of relative positions.

    Returns:
        (B, H, L, D).
    """
    keys = flange + query_block
    later = later_keys(query_block, keys, q.device)
    k, v, unseen = (x.unfold(2, keys, query_block) for x in (k, v, zero_rows(v)))
    return _attended(q, k, v, unseen, query_block, later, relative)


def local_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    query_block: int,
    memory_block: int,
    flange: int,
    causal: bool,
    padding: Tensor | None = None,
    relative: RelativeTables | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Block-local attention.

    Args:
        q: (B, H, L, D), already scaled; L is a multiple of `query_block`.
        k: (B, H, S, D); S has as many memory blocks as L has query blocks.
        v: (B, H, S, D).
        query_block: Q, the length of a block of queries.
        memory_block: the length of the block of keys that belongs to a block of queries.
        flange: F, keys before the block; where not `causal`, as many again after it.
        causal: hide keys after the query; needs `memory_block` equal to `query_block`.
        padding: bool (B, S), True where a key is padding.
        relative: tables of relative positions.
        dropout: of attention weights.

    Returns:
        (B, H, L, D).
    """
    sides = (flange, 0 if causal else flange)
    k, v = (pad(x, (0, 0, *sides)) for x in (k, v))
    unseen = zero_rows(v)
    if padding is not None:
        unseen = unseen | pad(padding, sides)[:, None]
    keys = sum(sides) + memory_block
    later = later_keys(query_block, keys, q.device) if causal else None
    k, v, unseen = (x.unfold(2, keys, memory_block) for x in (k, v, unseen))
    return _attended(q, k, v, unseen, query_block, later, relative, dropout)


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    unseen: Tensor,
    query_block: int,
    pattern: Tensor | None,
    relative: RelativeTables | None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of q (B, H, L, D) to blocks k and v (B, H, N, D, K), unseen (B, H, N, K)."""
    queries = torch.unflatten(q, 2, (-1, query_block))  # (B, H, N, Q, D)
    out = attend(
        queries, k.mT, v.mT, unseen=unseen, pattern=pattern, relative=relative, dropout=dropout
    )
    return out.flatten(2, 3)


def strided_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    query_block: int,
    relative: RelativeTables | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Each position attends to the same offset of its own and all earlier blocks (SPEC §3.2).

    All of q, k and v (B, H, L, D), and so is what is returned. The distance is in blocks.
    """
    columns, keys, values = (
        torch.unflatten(x, 2, (-1, query_block)).transpose(2, 3) for x in (q, k, v)
    )  # (B, H, Q, N, D) each
    blocks = columns.shape[-2]
    later = later_keys(blocks, blocks, q.device)
    out = attend(columns, keys, values, pattern=later, relative=relative, dropout=dropout)
    return torch.flatten(out.transpose(2, 3), 2, 3)
