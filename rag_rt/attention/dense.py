"""Attention within groups of queries and keys: blocks, strides and cluster windows are groups."""

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop

from rag_rt.attention.relative import RelativeTables, relative_logits, relative_values

# What tensor2tensor adds to the logit of a hidden key. Finite, and added rather than filled in: a
# query whose keys are all hidden attends to them all.
HIDDEN = -1e9


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hidden: Tensor | None = None,
    relative: RelativeTables | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Σ_j softmax_j(q_i·k_j + q_i·r_ij) (v_j + s_ij) with relative rows r and s (SPEC §3).

    Args:
        q: (…, Q, D), already scaled.
        k: (…, K, D).
        v: (…, K, D).
        hidden: bool, broadcasts to (…, Q, K); True where a query must not see a key.
        relative: tables of relative positions.
        dropout: probability with which a weight is dropped.

    Returns:
        (…, Q, D).
    """
    logits = q @ k.mT  # (…, Q, K)
    if relative is not None:
        logits += relative_logits(q, relative.keys, k.shape[-2])
    if hidden is not None:
        logits.add_(hidden, alpha=HIDDEN)
    weights = drop(logits.softmax(-1), dropout) if dropout else logits.softmax(-1)
    out = weights @ v
    if relative is not None:
        out += relative_values(weights, relative.values)
    return out


def later_keys(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a key stands after its query, (Q, K); the queries are the last Q of K."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.triu(keys - queries + 1)


def zero_rows(v: Tensor) -> Tensor:
    """True for rows of exactly zero, which tensor2tensor takes for padding: (…, K, D) to (…, K)."""
    return (v == 0).all(-1)
