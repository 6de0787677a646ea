"""A slice of a text through the model: matrix products on many tokens at once.

Glossary: T tokens of the slice, S keys up to its end, H hidden size, KV key-value heads, G query
heads of each, D head size.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rag_rt.models.routed_decoder.compiling import threads, use_threads
from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.packing import array
from rag_rt.models.routed_decoder.rows import CachedRow
from rag_rt.models.routed_decoder.slices import add_and_normalise, gate, turn_and_remember
from rag_rt.models.routed_decoder.vectors import LANES
from rag_rt.models.routed_decoder.weights import LoadedWeights

Attention = Callable[[Tensor, int], Tensor]
_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def read_slice(
    weights: LoadedWeights,
    config: DecoderConfig,
    row: CachedRow,
    ids: Tensor,
    routed: Attention | None,
) -> Tensor:
    """Append a slice to a row; the hidden state (H,) after its last token, before the last norm.

    Sums of layers are float32; what enters a product has the weights' type.

    Args:
        weights: of the model.
        config: its sizes.
        row: has room for the slice; before a block must be clustered, where it is routed.
        ids: (T,).
        routed: attention (T, heads · D) of the slice's scaled queries (T, heads, D) in a layer, in
            place of dense.
    """
    count, start, running = len(ids), row.length, threads()
    use_threads(running)
    x = weights.embeddings[ids].float()
    # Products of a few sizes: oneDNN makes kernels for each.
    padded = -(-count // LANES) * LANES
    h = torch.zeros(padded, config.hidden, dtype=weights.dtype)
    attended = torch.zeros(padded, config.heads * config.head_size, dtype=weights.dtype)
    gated = torch.zeros(padded, config.inner, dtype=weights.dtype)
    y = h[:0]  # what the layer before adds
    for number, layer in enumerate(weights.layers):
        norm = weights.packed.attention_norm[number]
        add_and_normalise(x.numpy(), array(y), norm, config.epsilon, array(h), running)
        qkv = layer.qkv(h).view(padded, -1, config.head_size)
        turn_and_remember(
            array(qkv),
            count,
            weights.packed.cosines,
            weights.packed.sines,
            array(row.keys[number]),
            array(row.values[number]),
            start,
            running,
        )
        q, k, v = torch.split(qkv[:count], [config.heads, config.kv_heads, config.kv_heads], 1)
        scale = config.head_size**-0.5
        if routed is None:
            found = _dense(q, k, v, row.before(number, start), scale)
        else:
            found = routed(q.float() * scale, number).view(q.shape)
        attended.view(padded, *q.shape[1:])[:count] = found
        if number == config.layers - 1:  # of the last layer no more than the last token is needed
            x, attended, h, gated = x[-1:], attended[count - 1 : count], h[:1], gated[:1]
        norm = weights.packed.feed_forward_norm[number]
        y = layer.out(attended)
        add_and_normalise(x.numpy(), array(y), norm, config.epsilon, array(h), running)
        gate(array(layer.gate_up(h)), len(x), array(gated), running)
        y = layer.down(gated)
    row.advance(count)
    return x[-1] + y[-1]


def _dense(q: Tensor, k: Tensor, v: Tensor, before: tuple[Tensor, Tensor], scale: float) -> Tensor:
    """Causal attention of a slice's queries (T, heads, D) to its own keys and those before it.

    The two need no mask, and are joined by the logarithms of their sums: a seventh faster than one
    product under a mask (512 queries of 8,192 keys). The operator is the one behind torch's
    `scaled_dot_product_attention`, which does not tell the logarithms.

    Args:
        q, k, v: (T, heads or KV, D) of the slice.
        before: keys and values (KV, S - T, D).
        scale: of the products.

    Returns:
        (T, heads, D).
    """
    q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
    attended, own = _attend(q, k, v, 0.0, True, scale=scale)
    if before[0].shape[1]:
        k, v = (part.unsqueeze(0) for part in before)
        earlier, of_earlier = _attend(q, k, v, 0.0, False, scale=scale)
        share = torch.sigmoid(of_earlier - own).unsqueeze(-1)  # (1, heads, T, 1)
        attended = torch.lerp(attended.float(), earlier.float(), share)
    joined: Tensor = attended[0].transpose(0, 1)
    return joined
