"""Routed attention under a name that transformers knows, for its models of Llama's family.

    register_routed_attention()
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="routed")

What is read together (a prompt, or the next piece of one) is routed. A token that comes alone is
read by dense attention: transformers has no place to keep clusters between calls, and to make them
anew costs more than to read every key. This is the reference, and no faster than dense attention.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function

from rag_rt.attention.routed_keys import Routing, routed_attention
from rag_rt.errors import RagRtError

# What else models ask of an attention function; each changes the weights of keys.
_UNSUPPORTED = ("position_bias", "s_aux", "sliding_window", "softcap")


class UnsupportedAttention(RagRtError, ValueError):
    """A model or a call asks for attention that routing has no form for."""


def register_routed_attention(name: str = "routed", routing: Routing | None = None) -> None:
    """Make `attn_implementation=name` known to transformers; another name for other settings."""
    AttentionInterface.register(name, partial(attend, routing=routing or Routing()))
    AttentionMaskInterface.register(name, real_keys)


def real_keys(
    batch_size: int,
    q_length: int,
    q_offset: int | Tensor = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **_: object,
) -> Tensor:
    """Which keys are no padding, bool (B, S), up to the last query; transformers' mask interface.

    Raises:
        UnsupportedAttention: keys are hidden otherwise than by time and by padding at the ends.
    """
    if mask_function is not causal_mask_function:
        raise UnsupportedAttention(
            "routed attention hides later keys and padding, and this model or call hides others "
            "(a sliding window, packed sequences, a mask of its own); use 'sdpa'"
        )
    real = torch.ones(batch_size, int(q_offset) + q_length, dtype=torch.bool, device=device)
    if attention_mask is not None:
        real &= attention_mask[:, : real.shape[1]]
    if any(len(row.unique_consecutive()) > 2 + (not row[0]) for row in real):
        raise UnsupportedAttention(
            "attention_mask has padding between tokens; pad on the left, as for every generation"
        )
    return real


def attend(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    routing: Routing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query (B, H, T, D), key and value (B, KV, S, D).

    Returns:
        (B, T, H, D), zeros where the query is padding and more than one query is read; no weights.

    Raises:
        UnsupportedAttention: dropout, a mask of four dimensions, or what else changes the weights.
    """
    asked = [name for name in _UNSUPPORTED if others.get(name) is not None]
    if dropout or asked:
        raise UnsupportedAttention(f"routed attention has no {asked or 'dropout'}; use 'sdpa'")
    if attention_mask is None or attention_mask.dim() != 2:
        raise UnsupportedAttention(
            "routed attention makes its own mask from an attention_mask (B, S) of ones and zeros; "
            "it was given another one; use 'sdpa'"
        )
    length, queries = attention_mask.shape[1], query.shape[2]
    key, value = key[:, :, :length], value[:, :, :length]  # a static cache is longer
    if queries == 1:
        seen = attention_mask[:, None, None]
        return sdpa_attention_forward(module, query, key, value, seen, scaling=scaling)
    out = torch.zeros_like(query)
    for row, real in enumerate(attention_mask):
        tokens = real.nonzero().flatten()
        asking = tokens[tokens >= length - queries] - (length - queries)
        if len(asking):
            keys, values = key[row, :, tokens], value[row, :, tokens]
            out[row, :, asking] = routed_attention(
                query[row, :, asking], keys, values, routing, scale=scaling
            )
    return out.transpose(1, 2).contiguous(), None
