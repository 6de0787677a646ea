"""Attention within groups of queries and keys: blocks, strides and cluster windows are groups.

The weights of all groups together would be the largest thing in memory. They are computed in slabs
that stay in the processor's cache; a slab has few queries, so that keys which all of them must not
see are left out. The backward pass is given the weights of seen keys, nothing else of their size.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rag_rt.attention.relative import (
    RelativeTables,
    by_distance,
    distance_rows,
    relative_logits,
)

# What tensor2tensor adds to the logit of a hidden key. Finite, and added rather than filled in: a
# query whose keys are all hidden attends to them all.
HIDDEN = -1e9
# Weights computed together: of some groups, for some queries of each.
_SLAB_BYTES = 4 << 20
_SLAB_QUERIES = 64


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    unseen: Tensor | None = None,
    pattern: Tensor | None = None,
    relative: RelativeTables | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Σ_j softmax_j(q_i·k_j + q_i·r_ij) (v_j + s_ij) with relative rows r and s (SPEC §3).

    Args:
        q: (B, H, N, Q, D), already scaled.
        k: (B, H, N, K, D).
        v: (B, H, N, K, D).
        unseen: bool (B, H, N, K), keys that no query sees.
        pattern: bool (Q, K), True where a query must not see a key, in every group.
        relative: tables of relative positions.
        dropout: probability with which a weight is dropped.

    Returns:
        (B, H, N, Q, D).
    """
    rows: tuple[Tensor | None, ...] = (None, None)
    if relative is not None:
        rows = tuple(distance_rows(table, q.shape[-2], k.shape[-2]) for table in relative)
    apply: Any = _Attention.apply  # torch declares no types for it
    out: Tensor = apply(q, k, v, *rows, unseen, pattern, dropout)
    return out


def later_keys(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a key stands after its query, (Q, K); the queries are the last Q of K."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.triu(keys - queries + 1)


def zero_rows(v: Tensor) -> Tensor:
    """True for rows of exactly zero, which tensor2tensor takes for padding: (…, K, D) to (…, K)."""
    return (v == 0).all(-1)


class _Piece(NamedTuple):
    """Some queries of each group, from the first to the last key that any of them may see.

    `rows` are those of their distances, without distances at which nothing is seen. `bias` is of
    the last keys alone, among which are all that the pattern hides.
    """

    queries: slice
    keys: slice
    rows: slice
    bias: Tensor


class _Slab(NamedTuple):
    """A piece of some groups: `queries` indexes (B, H, N, Q, …), `keys` (B, H, N, K, …)."""

    piece: _Piece
    queries: tuple[int, slice, slice, slice]
    keys: tuple[int, slice, slice, slice]


class _Attention(torch.autograd.Function):
    """`attend`, given the rows of all distances in a group (Q+K-1, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        key_rows: Tensor | None,
        value_rows: Tensor | None,
        unseen: Tensor | None,
        pattern: Tensor | None,
        dropout: float,
    ) -> Tensor:
        weights = _Weights(q, k, key_rows, unseen, pattern, dropout)
        out = v.new_empty(*q.shape[:-1], v.shape[-1])
        kept = []
        for slab in weights.slabs():
            whole = weights.of(slab)
            factor = weights.factor(whole)
            dropped = whole if factor is None else whole * factor
            said = dropped @ v[slab.keys]
            if value_rows is not None:
                said += weights.by_distance(slab, dropped) @ value_rows[slab.piece.rows]
            out[slab.queries] = said
            if any(ctx.needs_input_grad):
                kept.append(whole)
        ctx.save_for_backward(q, k, v, key_rows, value_rows, unseen, pattern, *kept)
        ctx.dropout, ctx.seed = dropout, weights.seed
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, key_rows, value_rows, unseen, pattern, *kept = ctx.saved_tensors
        weights = _Weights(q, k, key_rows, unseen, pattern, ctx.dropout, ctx.seed)
        grad_q = q.new_empty(q.shape)
        grad_k, grad_v = k.new_zeros(k.shape), v.new_zeros(v.shape)
        grad_key_rows: Any = None if key_rows is None else torch.zeros_like(key_rows)
        grad_value_rows: Any = None if value_rows is None else torch.zeros_like(value_rows)
        for slab, whole in zip(weights.slabs(), kept, strict=True):
            rows = slab.piece.rows
            factor = weights.factor(whole)
            dropped = whole if factor is None else whole * factor
            g = grad[slab.queries]
            grad_v[slab.keys] += dropped.mT @ g
            d = g @ v[slab.keys].mT  # of the weights
            if value_rows is not None:
                d += relative_logits(g, value_rows[rows], d.shape[-1])
                grad_value_rows[rows] += _summed(weights.by_distance(slab, dropped), g)
            if factor is not None:
                d *= factor
            d = torch.ops.aten._softmax_backward_data(d, whole, -1, d.dtype)  # of the logits
            grad_k[slab.keys] += d.mT @ q[slab.queries]
            of_q = d @ k[slab.keys]
            if key_rows is not None:
                d = weights.by_distance(slab, d)
                of_q += d @ key_rows[rows]
                grad_key_rows[rows] += _summed(d, q[slab.queries])
            grad_q[slab.queries] = of_q
        return grad_q, grad_k, grad_v, grad_key_rows, grad_value_rows, None, None, None


class _Weights:
    """The slabs, always in the same order, their weights, and which of them are dropped."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        key_rows: Tensor | None,
        unseen: Tensor | None,
        pattern: Tensor | None,
        dropout: float,
        seed: int | None = None,
    ) -> None:
        self._q, self._k, self._key_rows = q, k, key_rows
        self._unseen = unseen if unseen is not None and bool(unseen.any()) else None
        shape = (q.shape[-2], k.shape[-2])
        self._pattern = q.new_zeros(shape, dtype=torch.bool) if pattern is None else pattern
        self._concerned = None if self._unseen is None else self._unseen.any(-1)  # (B, H, N)
        self._columns = q.new_empty(0)
        self._dropout = dropout
        self.seed = seed
        if dropout:
            self.seed = int(torch.randint(2**62, ())) if seed is None else seed
            self._random = torch.Generator(q.device).manual_seed(self.seed)

    def slabs(self) -> Iterator[_Slab]:
        """Some queries of some groups: of a few heads, or of a part of one head."""
        batch, heads, groups = self._q.shape[:3]
        for piece in self._pieces():
            size = (piece.queries.stop - piece.queries.start) * (piece.keys.stop - piece.keys.start)
            fitting = max(1, _SLAB_BYTES // (size * self._q.element_size()))
            across = max(1, fitting // groups)
            for row in range(batch):
                for head in range(0, heads, across):
                    for group in range(0, groups, fitting):
                        where = row, slice(head, head + across), slice(group, group + fitting)
                        yield _Slab(piece, (*where, piece.queries), (*where, piece.keys))

    def of(self, slab: _Slab) -> Tensor:
        """Weights (h, n, q, k)."""
        q, piece = self._q[slab.queries], slab.piece
        logits = q @ self._k[slab.keys].mT
        if self._key_rows is not None:
            logits += relative_logits(q, self._key_rows[piece.rows], logits.shape[-1])
        logits[..., logits.shape[-1] - piece.bias.shape[-1] :] += piece.bias
        if self._unseen is not None and self._concerned is not None:
            concerned = self._concerned[slab.queries[:-1]]
            unseen = self._unseen[slab.keys][concerned].unsqueeze(-2)
            hidden = unseen & ~self._pattern[piece.queries, piece.keys]  # none twice
            logits[concerned] += HIDDEN * hidden
        return logits.softmax(-1)

    def factor(self, weights: Tensor) -> Tensor | None:
        """What drops some weights of the next slab and scales the others; None: all stay."""
        if not self._dropout:
            return None
        kept = 1 - self._dropout
        return torch.empty_like(weights).bernoulli_(kept, generator=self._random).div_(kept)

    def by_distance(self, slab: _Slab, weights: Tensor) -> Tensor:
        """`relative.by_distance`, in memory that the next call of this method writes to."""
        rows = slab.piece.rows
        shape = (*weights.shape[:-1], rows.stop - rows.start)
        if self._columns.shape != shape:
            self._columns = weights.new_zeros(shape)
        return by_distance(weights, self._columns)

    def _pieces(self) -> Iterator[_Piece]:
        queries, keys = self._pattern.shape
        later = later_keys(queries, keys, self._pattern.device)
        everything = self._hides_all()
        # One column after the queries' own keeps the columns of two queries apart.
        ahead = 1 if not everything and bool(self._pattern[later].all()) else queries
        for start in range(0, queries, _SLAB_QUERIES):
            stop = min(start + _SLAB_QUERIES, queries)
            hides = self._pattern[start:stop]
            seen = torch.arange(keys) if everything else (~hides).any(0).nonzero()
            first, last = int(seen[0]), int(seen[-1]) + 1
            row = first + queries - stop  # of the distance from the last query to the first key
            rows = slice(row, row + last - first + min(ahead, stop - start - 1))
            some = hides.any(0)[first:last].nonzero()
            hides = hides[:, first + int(some[0]) if len(some) else last : last]
            bias = self._q.new_zeros(hides.shape).masked_fill_(hides, HIDDEN)
            yield _Piece(slice(start, stop), slice(first, last), rows, bias)

    def _hides_all(self) -> bool:
        """Whether there is a query from which all keys are hidden; it attends to all of them."""
        if bool(self._pattern.all(-1).any()):
            return True
        if self._unseen is None or self._concerned is None:
            return False
        seen = (~self._unseen[self._concerned]).float() @ (~self._pattern).float().mT
        return bool((seen == 0).any())


def _summed(by_query: Tensor, rows: Tensor) -> Tensor:
    """Σ over groups and queries of x_iᵀ y_i: (…, Q, R) and (…, Q, D) to (R, D)."""
    return by_query.flatten(0, -2).mT @ rows.reshape(-1, rows.shape[-1])
