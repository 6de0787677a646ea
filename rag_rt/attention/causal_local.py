"""Local attention of new positions to remembered ones: the same function, without the past's cost.

A ring of F + Q slots holds all that a block of queries can see. Rows of a batch may differ in how
many positions they have.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rag_rt.attention.dense import HIDDEN
from rag_rt.attention.local import causal_blocks
from rag_rt.attention.relative import RelativeTables
from rag_rt.attention.rings import held, rows_at


def local_chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rings: tuple[Tensor, Tensor],
    length: Tensor,
    *,
    query_block: int,
    flange: int,
    relative: RelativeTables | None = None,
) -> Tensor:
    """Attention of the positions that follow the remembered ones.

    Args:
        q: (B, H, L, D), already scaled.
        k: (B, H, L, D).
        v: (B, H, L, D).
        rings: keys and values (B, H, F+Q, D) of the positions before.
        length: (B), how many positions each row has in the rings.
        query_block: Q.
        flange: F.
        relative: tables of relative positions.

    Returns:
        (B, H, L, D).
    """
    # A frame begins with the block that the first new position is in, and ends with a block.
    offset = (length % query_block).unsqueeze(-1)  # (B, 1)
    blocks = -(-(int(offset.max()) + q.shape[2]) // query_block)
    columns = torch.arange(-flange, blocks * query_block, device=q.device)
    position = length.unsqueeze(-1) - offset + columns  # (B, F+frame)
    slots = rings[0].shape[2]
    new = position - length.unsqueeze(-1)
    source = torch.where(new < 0, position % slots, slots + new)
    nothing = slots + q.shape[2]
    source = source.masked_fill((position < 0) | (new >= q.shape[2]), nothing)
    keys, values = (
        rows_at(pad(torch.cat([ring, x], 2), (0, 0, 0, 1)), source[:, None])
        for ring, x in zip(rings, (k, v), strict=True)
    )
    queries = rows_at(q, new[:, None, flange:].clamp(0, q.shape[2] - 1))
    out = causal_blocks(
        queries, keys, values, query_block=query_block, flange=flange, relative=relative
    )
    return rows_at(out, (offset + torch.arange(q.shape[2], device=q.device))[:, None])


def local_step(
    q: Tensor,
    rings: tuple[Tensor, Tensor],
    length: Tensor,
    *,
    query_block: int,
    flange: int,
    relative: RelativeTables | None = None,
) -> Tensor:
    """Attention of the last remembered position alone: q (B, H, 1, D) to (B, H, 1, D).

    Args:
        q: already scaled.
        rings: keys and values (B, H, F+Q, D), with the position itself.
        length: (B), how many positions each row has in the rings.
        query_block: Q.
        flange: F.
        relative: tables of relative positions.
    """
    keys, values = rings
    own = length.unsqueeze(-1) - 1  # (B, 1), the position of the query
    position = held(length, keys.shape[2])  # (B, S)
    # Empty slots are known by their number here: to look for rows of zeros would cost a fifth of
    # the time of a token.
    unseen = position < (own // query_block * query_block - flange).clamp(min=0)
    distance = (position - own)[:, None]
    return attend_at_distances(q, keys, values, unseen[:, None, None], distance, relative)


def attend_at_distances(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    hidden: Tensor,
    distance: Tensor,
    relative: RelativeTables | None,
) -> Tensor:
    """`attend` of one query to keys in any order.

    Args:
        q: (…, 1, D).
        keys: (…, K, D).
        values: (…, K, D).
        hidden: bool, broadcasts to (…, 1, K).
        distance: how far each key is from the query; broadcasts to (…, K).
        relative: tables of relative positions.

    Returns:
        (…, 1, D).
    """
    logits = q @ keys.mT  # (…, 1, K)
    if relative is None:
        return logits.add_(hidden, alpha=HIDDEN).softmax(-1) @ values
    farthest = relative.keys.shape[0] // 2
    row = distance.clamp(-farthest, farthest) + farthest
    logits += q @ relative.keys[row].mT
    weights = logits.add_(hidden, alpha=HIDDEN).softmax(-1)
    return weights @ values + weights @ relative.values[row]
