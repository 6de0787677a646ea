"""One step of a Llama-family decoder: a few tokens of a few sequences, through all layers at once.

Glossary: M tokens of the step ("lanes"), L layers, H hidden size, KV key-value heads, G query heads
of each, D head size, V vocabulary, S keys. Keys lie in tiles of 4: (L, KV, S/4, D/4, 4 keys, 4 of
D), values as (L, KV, S, D). A tile is a stretch of positions until its block is clustered; then it
is a cluster.

What a lane computes does not depend on the other lanes, to the last bit.
"""

from rag_rt.models.routed_decoder.attending import (
    ask_all,
    attend_all,
    cut_into_items,
    join_parts,
    list_all,
    remember,
    score_all,
)
from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import (
    Array,
    Floats,
    Input,
    Lanes,
    Scratch,
    Selection,
    Shape,
    Tag,
    Weights,
)
from rag_rt.models.routed_decoder.products import add_to, gate, linear, normalise, prepare, take
from rag_rt.models.routed_decoder.vectors import LANES


@compiled()
def head(hidden: Floats, logits: Floats, weights: Weights, shape: Shape, x: Input) -> None:
    """Logits (M, V) of hidden states (M · H,)."""
    rows, size = len(logits), len(hidden) // len(logits)
    for row in range(rows):
        normalise(hidden, weights.final_norm, shape.epsilon, x, row, size)
        prepare(row, size, weights.head.scale.size > 0, x)
    linear(weights.head, 0, x, logits.reshape(-1), rows, size, logits.shape[1], shape.threads)


@compiled()
def step(
    hidden: Floats,
    logits: Floats,
    weights: Weights,
    lanes: Lanes,
    kv: Array,
    group: Tag,
    width: Tag,
    shape: Shape,
    selection: Selection,
    x: Input,
    scratch: Scratch,
) -> None:
    """Runs the lanes through the model: hidden (M, H) are their embeddings, logits (M, V) come out.

    Each lane's keys and values are written at its position; it sees those of its sequence up to
    itself. `kv` is an empty array of the type of keys and values.
    """
    rows, size = hidden.shape
    y = scratch.y
    flat = hidden.reshape(-1)
    head_size = LANES * len(width)
    attended_size = shape.heads * head_size
    n_qkv = (shape.heads + 2 * shape.kv_heads) * head_size
    inner, threads = shape.inner, shape.threads
    quantised = weights.qkv.scale.size > 0
    for layer in range(weights.attention_norm.shape[0]):
        for row in range(rows):
            normalise(flat, weights.attention_norm[layer], shape.epsilon, x, row, size)
            prepare(row, size, quantised, x)
        linear(weights.qkv, layer, x, y, rows, size, n_qkv, threads)
        for row in range(rows):
            remember(y, row, n_qkv, layer, width, shape, weights, lanes, kv)
        for row in range(rows):
            ask_all(row, n_qkv, width, shape, selection, y, scratch)
        score_all(
            layer,
            rows,
            group,
            width,
            shape,
            selection,
            lanes,
            kv,
            scratch.asked,
            scratch.cluster_scores,
        )
        list_all(
            rows,
            shape,
            selection,
            lanes,
            scratch.listed,
            scratch.counts,
            scratch.cluster_scores,
        )
        items = cut_into_items(rows, shape, scratch)
        attend_all(
            layer,
            items,
            group,
            width,
            shape,
            lanes,
            kv,
            scratch.spread,
            scratch.listed,
            scratch.counts,
            scratch.items,
            scratch.scores,
            scratch.partial,
            scratch.partial_max,
            scratch.partial_sum,
        )
        join_parts(items, group, width, scratch)
        for row in range(rows):
            take(scratch.attended, x, row, attended_size)
            prepare(row, attended_size, quantised, x)
        linear(weights.out, layer, x, y, rows, attended_size, size, threads)
        for row in range(rows):
            add_to(y, flat, row, size)
            normalise(flat, weights.feed_forward_norm[layer], shape.epsilon, x, row, size)
            prepare(row, size, quantised, x)
        linear(weights.gate_up, layer, x, y, rows, size, 2 * inner, threads)
        for row in range(rows):
            gate(y, x, row, inner)
            prepare(row, inner, quantised, x)
        linear(weights.down, layer, x, y, rows, inner, size, threads)
        for row in range(rows):
            add_to(y, flat, row, size)
    head(flat, logits, weights, shape, x)
