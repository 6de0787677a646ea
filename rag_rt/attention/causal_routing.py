"""Routing that depends on nothing after a position, and forgets nothing that it needs.

The published function takes the W best of all L positions, future ones included. Its causal
counterpart decides when a position arrives: it joins a cluster if its score is among the best
⌈W (p+1) / L⌉ of the p + 1 positions so far, the same share W / L of the text. It then attends to
the W latest members of each cluster that it is in, by rank, as the published function does. So the
memory of a cluster is a ring of W members, and a decision is never revised.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rag_rt.attention.causal_local import attend_at_distances
from rag_rt.attention.dense import attend, later_keys, zero_rows
from rag_rt.attention.relative import RelativeTables
from rag_rt.attention.rings import held, latest
from rag_rt.attention.routing import COUNT_OFFSET, gathered

_SLAB = 32  # scores that are compared pair by pair; at most 256, or bytes overflow


def admitted(
    scores: Tensor, earlier: Tensor, position: Tensor, window: int, horizon: int
) -> Tensor:
    """Which clusters new positions join.

    Args:
        scores: (B, H, C, L) of the new positions.
        earlier: (B, H, C, P) of the positions before them; -inf where a row has fewer.
        position: (B, L), the number of each new position, from 0.
        window: W.
        horizon: the length of a full text, of which a cluster takes W positions.

    Returns:
        bool (B, H, C, L).
    """
    quota = (window * (position + 1) + horizon - 1) // horizon  # (B, L)
    if scores.shape[-1] == 1:
        better = (earlier >= scores).sum(-1, keepdim=True)
    else:
        ascending = earlier.sort(-1).values
        better = earlier.shape[-1] - torch.searchsorted(ascending, scores.contiguous())
        better = better + earlier_and_no_worse(scores)
    return better < quota[:, None, None]


def earlier_and_no_worse(scores: Tensor) -> Tensor:
    """How many positions before each score at least as high: (…, L) to (…, L).

    Pair by pair within slabs; then each right half of a block against the sorted left half, for
    blocks that double until there is one.
    """
    length = scores.shape[-1]
    size = _SLAB
    padded = pad(scores, (0, -length % size), value=-torch.inf)
    slabs = torch.unflatten(padded, -1, (-1, size))
    no_worse = (slabs.unsqueeze(-2) >= slabs.unsqueeze(-1)).tril(-1)  # (…, slabs, own, other)
    # As bytes: a sum of booleans would copy them to 64 bits first.
    count = no_worse.view(torch.uint8).sum(-1, dtype=torch.uint8).flatten(-2).long()
    while size < length:
        filling = -padded.shape[-1] % (2 * size)
        padded, count = pad(padded, (0, filling), value=-torch.inf), pad(count, (0, filling))
        left, right = torch.unflatten(padded, -1, (-1, 2, size)).unbind(-2)
        better = size - torch.searchsorted(left.sort(-1).values, right.contiguous())
        torch.unflatten(count, -1, (-1, 2, size))[..., 1, :] += better
        size *= 2
    return count[..., :length]


def cluster_chunk(
    q: Tensor,
    v: Tensor,
    member: Tensor,
    rings: tuple[Tensor, Tensor],
    length: Tensor,
    relative: RelativeTables | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of new positions within the clusters that they join.

    Args:
        q: (B, H, L, D), on the sphere; queries and keys.
        v: (B, H, L, D).
        member: bool (B, H, C, L), which clusters each position joins.
        rings: keys and values (B, H, C, W, D) of the members so far.
        length: (B, H, C), how many members each cluster has had.
        relative: tables of relative positions, by rank.

    Returns:
        (B, H, L, D), and the new members' keys and values (B, H, C, K, D), first those that are.
    """
    window = rings[0].shape[-2]
    joined = member.sum(-1)  # (B, H, C)
    most = max(int(joined.max()), 1)
    where = (~member).sort(dim=-1, stable=True).indices[..., :most]  # (B, H, C, K)
    real = torch.arange(most, device=q.device) < joined.unsqueeze(-1)
    new_keys, new_values = gathered(q, where), gathered(v, where)
    keys, values = (
        torch.cat([latest(ring, length), new], -2)
        for ring, new in zip(rings, (new_keys, new_values), strict=True)
    )  # (B, H, C, W+K, D)
    ones = torch.ones(most, window + most, dtype=torch.bool, device=q.device)
    pattern = later_keys(most, window + most, q.device) | ones.tril()  # the latest W only
    unseen = zero_rows(values)
    out = attend(new_keys, keys, values, unseen=unseen, pattern=pattern, relative=relative)
    return _averaged(out * real.unsqueeze(-1), where, member), new_keys, new_values


def cluster_step(
    q: Tensor,
    member: Tensor,
    rings: tuple[Tensor, Tensor],
    length: Tensor,
    relative: RelativeTables | None = None,
) -> Tensor:
    """Attention of one new position, which the rings already hold: (B, H, 1, D) to (B, H, 1, D).

    Args:
        q: on the sphere.
        member: bool (B, H, C), which clusters the position is in.
        rings: keys and values (B, H, C, W, D), with the position itself where it is a member.
        length: (B, H, C), how many members each cluster has had, the position included.
        relative: tables of relative positions, by rank.
    """
    batch, head, cluster = member.nonzero(as_tuple=True)  # (J) each
    keys, values = (ring[batch, head, cluster] for ring in rings)  # (J, W, D)
    count = length[batch, head, cluster]
    number = held(count, keys.shape[-2])  # (J, W)
    distance = number - count.unsqueeze(-1) + 1
    empty = (number < 0).unsqueeze(-2)
    out = attend_at_distances(q[batch, head], keys, values, empty, distance, relative)
    total = q.new_zeros(*q.shape[:2], 1, values.shape[-1])
    total.index_put_((batch, head), out, accumulate=True)
    return (total / (member.sum(-1)[..., None, None] + COUNT_OFFSET)).to(q.dtype)


def _averaged(out: Tensor, where: Tensor, member: Tensor) -> Tensor:
    """As `routing.scattered`, of clusters of unequal sizes: zeros do not count."""
    batch, heads, _, length = member.shape
    total = out.new_zeros(batch, heads, length, out.shape[-1])
    index = where.flatten(2).unsqueeze(-1).expand(-1, -1, -1, out.shape[-1])
    total.scatter_add_(2, index, out.flatten(2, 3))
    return (total / (member.sum(2).unsqueeze(-1) + COUNT_OFFSET)).to(out.dtype)
