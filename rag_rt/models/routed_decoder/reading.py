"""A slice of a text through the model: matrix products on many tokens at once.

Glossary: T tokens of the slice, S keys up to its end, H hidden size, KV key-value heads, G query
heads of each, D head size.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.rows import CachedRow
from rag_rt.models.routed_decoder.weights import Layer, LoadedWeights

Attention = Callable[[Tensor, int], Tensor]


def read_slice(
    weights: LoadedWeights,
    config: DecoderConfig,
    row: CachedRow,
    ids: Tensor,
    routed: Attention | None,
) -> Tensor:
    """Append a slice to a row; the hidden state (H,) after its last token, before the last norm.

    Args:
        weights: of the model.
        config: its sizes.
        row: has room for the slice before a block must be clustered.
        ids: (T,).
        routed: attention of the slice's scaled queries (T, heads, D) in a layer, in place of dense.
    """
    x = weights.embeddings[ids]
    start, stop = row.length, row.length + len(ids)
    angles = weights.packed.cosines[start:stop], weights.packed.sines[start:stop]
    cosines, sines = (torch.from_numpy(angle).unsqueeze(1) for angle in angles)  # (T, 1, D/2)
    hidden = _hidden_keys(len(ids), stop, x.dtype) if routed is None else None
    for number, layer in enumerate(weights.layers):
        h = rms_norm(x, x.shape[-1:], layer.attention_norm, config.epsilon)
        q, k, v = _heads(linear(h, layer.qkv, layer.qkv_bias), config)
        q = _turned(q, cosines, sines) * config.head_size**-0.5
        row.write(number, _turned(k, cosines, sines).to(x.dtype), v)
        if routed is None:
            attended = _dense(q.to(x.dtype), row, number, stop, hidden)
        else:
            attended = routed(q, number).to(x.dtype)
        if number == config.layers - 1:  # of the last layer no more than the last token is needed
            x, attended = x[-1:], attended[-1:]
        x = x + linear(attended, layer.out, layer.out_bias)
        x = x + _fed_forward(
            rms_norm(x, x.shape[-1:], layer.feed_forward_norm, config.epsilon), layer
        )
    row.advance(len(ids))
    return x[-1]


def _heads(qkv: Tensor, config: DecoderConfig) -> tuple[Tensor, Tensor, Tensor]:
    """(T, N) to (T, heads, D), (T, KV, D) and (T, KV, D)."""
    sizes = [config.heads, config.kv_heads, config.kv_heads]
    q, k, v = torch.split(qkv.view(len(qkv), -1, config.head_size), sizes, 1)
    return q, k, v


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021) of (T, heads, D), in float32, the halves paired."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cosines - b * sines, b * cosines + a * sines], -1)


def _fed_forward(h: Tensor, layer: Layer) -> Tensor:
    gate, up = linear(h, layer.gate_up, layer.gate_up_bias).chunk(2, -1)
    return linear(silu(gate) * up, layer.down, layer.down_bias)


def _hidden_keys(count: int, stop: int, dtype: torch.dtype) -> Tensor | None:
    """What hides later keys in scores (T, S); None where a text begins: all are its own."""
    if count == stop:
        return None
    return torch.full((count, stop), -torch.inf, dtype=dtype).triu(stop - count + 1)


def _dense(q: Tensor, row: CachedRow, layer: int, stop: int, hidden: Tensor | None) -> Tensor:
    """Causal attention of scaled queries (T, heads, D), the last before `stop`: (T, heads · D)."""
    found = scaled_dot_product_attention(
        q.transpose(0, 1).unsqueeze(0),
        row.natural_keys(layer, stop).unsqueeze(0),
        row.values[layer, :, :stop].unsqueeze(0),
        attn_mask=hidden,
        is_causal=hidden is None,
        scale=1.0,
        enable_gqa=True,
    )
    return found[0].transpose(0, 1).flatten(1)
