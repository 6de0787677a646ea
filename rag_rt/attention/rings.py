"""The most recent entries of growing lists, in memory of a fixed size.

Entry number n of a list lies in slot n modulo S. Lists of one tensor may differ in length; a slot
that was never written holds zeros, which attention takes for padding.
"""

import torch
from torch import Tensor


def held(length: Tensor, slots: int) -> Tensor:
    """The number of the entry in each slot: lengths (…) to (…, S); negative where there is none."""
    last = length.unsqueeze(-1) - 1
    return last - (last - torch.arange(slots, device=length.device)) % slots


def extended(ring: Tensor, new: Tensor, length: Tensor, added: Tensor) -> Tensor:
    """The ring after new entries.

    Args:
        ring: (…, S, D).
        new: (…, K, D), of which the first `added` are entries.
        length: (…), how many entries the list had.
        added: (…), how many it gets; at most K.
    """
    number = held(length + added, ring.shape[-2])  # (…, S)
    fresh = (number - length.unsqueeze(-1)).clamp(min=0)
    entries = rows_at(new, fresh)
    return torch.where((number >= length.unsqueeze(-1)).unsqueeze(-1), entries, ring)


def latest(ring: Tensor, length: Tensor) -> Tensor:
    """The last S entries in their order, (…, S, D); zeros stand for those before the first."""
    slots = ring.shape[-2]
    number = length.unsqueeze(-1) - slots + torch.arange(slots, device=ring.device)
    return rows_at(ring, number % slots)


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (…, S, D) at index (…, K), which broadcasts: (…, K, D)."""
    index = index.expand(*x.shape[:-2], index.shape[-1])
    flat = x.reshape(-1, x.shape[-1])
    starts = torch.arange(0, flat.shape[0], x.shape[-2], device=x.device)
    rows = index + starts.view(*x.shape[:-2], 1)
    return flat.index_select(0, rows.flatten()).view(*index.shape, x.shape[-1])
