"""One step of a Llama-family decoder: a few tokens of a few sequences, through all layers at once.

Glossary: M tokens of the step ("lanes"), L layers, H hidden size, KV key-value heads, G query heads
of each, D head size, V vocabulary, S keys. Keys lie in tiles of 16: (L, KV, S/16, D, 16), values as
(L, KV, S, D). A tile is a stretch of 16 positions until its block is clustered; then it is a
cluster.

What a lane computes does not depend on the other lanes, to the last bit.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.simd import (
    GROUP,
    LANES,
    exp_tile,
    float_tile,
    gate_tile,
    quantised_tile,
    score_tile,
    store_float,
    value_tile,
)

Floats = npt.NDArray[np.float32]
Tag = tuple[int, ...]  # a number that the compiler knows: the tuple's length
Array = npt.NDArray[Any]

PART = 16  # tiles that one work item of attention reads: 256 keys
_ONE, _FOUR = (0,), (0, 0, 0, 0)
_FLOOR = np.float32(-1e30)


class Linear(NamedTuple):
    """Weights of a linear layer in every layer of the model, packed in tiles of 16 outputs.

    float32 and bfloat16 (as uint16): (L, N/16 · K · 16). int8: as many unsigned levels, in groups
    of 32 inputs; uint8: two levels a byte. `scale` and `least` are float16 as uint16,
    (L, N/16 · K/32 · 16), or empty. `bias` (L, N), or (L, 0).
    """

    weights: Array
    scale: Array
    least: Array
    bias: Floats


class Weights(NamedTuple):
    """All weights; `head` has one layer."""

    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    head: Linear
    attention_norm: Floats  # (L, H)
    feed_forward_norm: Floats  # (L, H)
    final_norm: Floats  # (H,)
    cosines: Floats  # (positions, D/2)
    sines: Floats


class Lanes(NamedTuple):
    """What each token of the step is and may see; addresses are those of its sequence's arrays."""

    position: npt.NDArray[np.int64]  # (M,)
    tiles: npt.NDArray[np.int64]  # (M,): tiles that the sequence has room for
    keys_at: npt.NDArray[np.int64]  # (M,)
    values_at: npt.NDArray[np.int64]
    clusters_at: npt.NDArray[np.int64]  # mean and variance, float32 (L, KV, tiles/16, 2 D, 16)


class Selection(NamedTuple):
    """Which keys a query reads: `rag_rt.attention.routed_keys.Routing`, in tiles."""

    sink_tiles: int
    block_tiles: int
    budget_tiles: int
    spread: float
    dense_below: int  # positions before this one read every key


class Shape(NamedTuple):
    """Sizes."""

    heads: int
    kv_heads: int
    inner: int  # width of the feed-forward layer
    epsilon: float
    threads: int


class Input(NamedTuple):
    """What a linear layer multiplies: (M, K), flat; in 8 bits too where its weights are."""

    floats: Floats
    levels: npt.NDArray[np.int8]
    scale: Floats  # (M, K/32)
    sum: npt.NDArray[np.int32]


class Scratch(NamedTuple):
    """Room for what a step computes; its contents mean nothing between steps."""

    y: Floats  # (M, widest N)
    attended: Floats  # (M, heads · D)
    listed: npt.NDArray[np.int32]  # (M · KV, tiles)
    counts: npt.NDArray[np.int64]  # (M · KV,)
    items: npt.NDArray[np.int64]  # (M · KV · parts, 2): lane and head, first of its tiles
    scores: Floats  # (threads, G · PART · 16)
    asked: Floats  # (M · KV · 2 D,)
    cluster_scores: Floats  # (M · KV, tiles rounded up to 16)
    partial: Floats  # (items, G · D)
    partial_max: Floats  # (items, G)
    partial_sum: Floats  # (items, G)


class ReadScratch(NamedTuple):
    """Room for reading a slice by routed attention, a line for each thread."""

    listed: npt.NDArray[np.int32]  # (threads, tiles)
    scores: Floats  # (threads, G · S + 16)
    asked: Floats  # (threads, 2 D)
    largest: Floats  # (threads, G)
    total: Floats  # (threads, G)


@compiled(fast=True)
def _sum_of_squares(x: Floats, start: int, size: int) -> np.float32:
    total = np.float32(0)
    for i in range(start, start + size):
        total += x[i] * x[i]
    return total


@compiled(fast=True)
def _largest(x: Floats, start: int, size: int) -> np.float32:
    largest = _FLOOR
    for i in range(start, start + size):
        largest = max(largest, x[i])
    return largest


@compiled(fast=True)
def _total(x: Floats, start: int, size: int) -> np.float32:
    total = np.float32(0)
    for i in range(start, start + size):
        total += x[i]
    return total


@compiled(fast=True)
def _largest_magnitude(x: Floats, start: int, size: int) -> np.float32:
    largest = np.float32(0)
    for i in range(start, start + size):
        largest = max(largest, abs(x[i]))
    return largest


@compiled()
def _normalise(
    hidden: Floats, weight: Floats, epsilon: float, x: Input, row: int, size: int
) -> None:
    """RMSNorm of one row, into x."""
    squares = _sum_of_squares(hidden, row * size, size)
    scale = np.float32(1.0) / np.float32(
        math.sqrt(squares / np.float32(size) + np.float32(epsilon))
    )
    for i in range(size):
        x.floats[row * size + i] = hidden[row * size + i] * scale * weight[i]


@compiled()
def _quantise(x: Input, row: int, size: int) -> None:
    """A row in 8 bits, with a scale for each 32 numbers."""
    groups = size // GROUP
    for group in range(groups):
        start = row * size + group * GROUP
        largest = _largest_magnitude(x.floats, start, GROUP)
        scale = largest / np.float32(127.0)
        inverse = np.float32(0.0) if scale == 0 else np.float32(1.0) / scale
        total = np.int32(0)
        for i in range(start, start + GROUP):
            level = np.int8(np.rint(x.floats[i] * inverse))
            x.levels[i] = level
            total += np.int32(level)
        x.scale[row * groups + group] = scale
        x.sum[row * groups + group] = total


@compiled()
def _product_tile(
    rows: tuple[int, ...],
    linear: Linear,
    layer: int,
    tile: int,
    x: Input,
    row: int,
    k: int,
    y: Floats,
    n: int,
) -> None:
    """16 outputs of as many rows, from `row` on, as `rows` has items."""
    weights, scale, least = linear.weights, linear.scale, linear.least
    y_at = y.ctypes.data + 4 * (row * n + tile * LANES)
    start = layer * weights.shape[1] + tile * (weights.shape[1] // (n // LANES))
    w_at = weights.ctypes.data + start * weights.itemsize
    if scale.size == 0:
        float_tile(rows, weights, w_at, k, x.floats.ctypes.data + 4 * row * k, y_at, n)
        return
    groups = k // GROUP
    quantised_tile(
        rows,
        weights,
        w_at,
        scale.ctypes.data + 2 * (layer * scale.shape[1] + tile * groups * LANES),
        least.ctypes.data + 2 * (layer * least.shape[1] + tile * groups * LANES),
        groups,
        x.levels.ctypes.data + row * k,
        x.scale.ctypes.data + 4 * row * groups,
        x.sum.ctypes.data + 4 * row * groups,
        y_at,
        n,
    )


@compiled(parallel=True)
def _linear(
    linear: Linear, layer: int, x: Input, y: Floats, rows: int, k: int, n: int, threads: int
) -> None:
    """y (rows, n) = x (rows, k) times the weights, plus their bias."""
    tiles = n // LANES
    bias = linear.bias
    for thread in numba.prange(threads):
        for tile in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            row = 0
            while row + 4 <= rows:
                _product_tile(_FOUR, linear, layer, tile, x, row, k, y, n)
                row += 4
            while row < rows:
                _product_tile(_ONE, linear, layer, tile, x, row, k, y, n)
                row += 1
            if bias.size:
                for i in range(tile * LANES, (tile + 1) * LANES):
                    for other in range(rows):
                        y[other * n + i] += bias[layer, i]


@compiled()
def _turned(
    y: Floats,
    start: int,
    half: int,
    cosines: Floats,
    sines: Floats,
    position: int,
    scale: np.float32,
) -> None:
    """Rotary embedding of one head (Su et al. 2021), the halves paired as in Llama."""
    for i in range(half):
        a, b = y[start + i], y[start + half + i]
        cosine, sine = cosines[position, i], sines[position, i]
        y[start + i] = (a * cosine - b * sine) * scale
        y[start + half + i] = (b * cosine + a * sine) * scale


@compiled()
def _remember(
    y: Floats,
    row: int,
    n: int,
    layer: int,
    width: Tag,
    shape: Shape,
    weights: Weights,
    lanes: Lanes,
    kv: Array,
) -> None:
    """Turns a lane's queries and keys, and keeps its keys and values with its sequence's."""
    size = LANES * len(width)
    position, tiles = lanes.position[row], lanes.tiles[row]
    scale = np.float32(1.0 / math.sqrt(size))
    for head in range(shape.heads):
        start = row * n + head * size
        _turned(y, start, size // 2, weights.cosines, weights.sines, position, scale)
    for head in range(shape.kv_heads):
        start = row * n + (shape.heads + head) * size
        _turned(y, start, size // 2, weights.cosines, weights.sines, position, np.float32(1.0))
        first = (layer * shape.kv_heads + head) * tiles * LANES * size
        k_at = first + (position // LANES) * LANES * size + position % LANES
        v_at = first + position * size
        v_start = start + shape.kv_heads * size
        for i in range(size):
            store_float(kv, lanes.keys_at[row] + (k_at + i * LANES) * kv.itemsize, y[start + i])
            store_float(kv, lanes.values_at[row] + (v_at + i) * kv.itemsize, y[v_start + i])


@compiled()
def _keep_best(
    scores: Floats,
    start: int,
    count: int,
    keep: int,
    listed: Array,
    item: int,
    filled: int,
    first: int,
) -> int:
    """Lists the `keep` tiles of the highest of `count` scores, in order; of equals the first."""
    bits = scores.view(np.int32)
    low, high = np.int64(-(2**31)), np.int64(2**31 - 1)
    while low < high:  # the greatest key that at least `keep` scores reach
        middle = (low + high + 1) >> 1
        reached = 0
        for i in range(start, start + count):
            key = bits[i] ^ ((bits[i] >> 31) & np.int32(0x7FFFFFFF))
            reached += key >= middle
        if reached >= keep:
            low = middle
        else:
            high = middle - 1
    above = 0
    for i in range(start, start + count):
        above += (bits[i] ^ ((bits[i] >> 31) & np.int32(0x7FFFFFFF))) > low
    equals = keep - above
    for i in range(count):
        key = bits[start + i] ^ ((bits[start + i] >> 31) & np.int32(0x7FFFFFFF))
        if key > low or (key == low and equals > 0):
            equals -= key == low
            listed[item, filled] = first + i
            filled += 1
    return filled


@compiled()
def _list_tiles(
    q: Floats,
    q_start: int,
    clusters_at: int,
    position: int,
    group: Tag,
    width: Tag,
    selection: Selection,
    asked: Floats,
    asked_start: int,
    scores: Floats,
    score_start: int,
    listed: Array,
    item: int,
) -> int:
    """Lists the tiles that the queries q (G, D) of one KV head read; returns their number."""
    last = position // LANES
    block = max(0, last - selection.sink_tiles) // selection.block_tiles
    own = selection.sink_tiles + block * selection.block_tiles
    clusters = own - selection.sink_tiles
    own_keys = position + 1 - own * LANES
    read = selection.budget_tiles - selection.sink_tiles - (own_keys + LANES - 1) // LANES
    if position < selection.dense_below or clusters <= read:
        for tile in range(last + 1):
            listed[item, tile] = tile
        return last + 1
    size = LANES * len(width)
    for i in range(size):
        first, second = np.float32(0), np.float32(0)
        for head in range(len(group)):
            number = q[q_start + head * size + i]
            first += number
            second += number * number
        asked[asked_start + i] = first
        asked[asked_start + size + i] = np.float32(selection.spread) * second
    for sixteen in range((clusters + LANES - 1) // LANES):
        score_tile(
            _ONE,
            width + width,
            scores,
            asked.ctypes.data + 4 * asked_start,
            clusters_at + 4 * sixteen * 2 * size * LANES,
            scores.ctypes.data + 4 * (score_start + sixteen * LANES),
            0,
        )
    filled = selection.sink_tiles
    for tile in range(filled):
        listed[item, tile] = tile
    filled = _keep_best(
        scores, score_start, clusters, read, listed, item, filled, selection.sink_tiles
    )
    for tile in range(own, last + 1):
        listed[item, filled] = tile
        filled += 1
    return filled


@compiled()
def _attend(
    q_at: int,
    k_at: int,
    v_at: int,
    position: int,
    listed: Array,
    item: int,
    first: int,
    count: int,
    group: Tag,
    width: Tag,
    kv: Array,
    scores: Floats,
    start: int,
    y: Floats,
    y_start: int,
    largest: Floats,
    total: Floats,
    out: int,
) -> None:
    """Attention over listed tiles: y (G, D) unnormalised, each head's largest score and sum."""
    heads, size, room = len(group), LANES * len(width), count * LANES
    tile_bytes = LANES * size * kv.itemsize
    s_at = scores.ctypes.data + 4 * start
    for i in range(count):
        tile = np.int64(listed[item, first + i])
        score_tile(group, width, kv, q_at, k_at + tile * tile_bytes, s_at + 4 * i * LANES, room)
        if tile == position // LANES:
            for lane in range(position + 1 - tile * LANES, LANES):
                for head in range(heads):
                    scores[start + head * room + i * LANES + lane] = _FLOOR
    for head in range(heads):
        place = start + head * room
        largest[out, head] = _largest(scores, place, room)
        for i in range(count):
            exp_tile(scores.ctypes.data + 4 * (place + i * LANES), largest[out, head])
        total[out, head] = _total(scores, place, room)
    for i in range(heads * size):
        y[y_start + i] = np.float32(0)
    for i in range(count):
        tile = np.int64(listed[item, first + i])
        value_tile(
            group,
            width,
            kv,
            s_at + 4 * i * LANES,
            room,
            v_at + tile * tile_bytes,
            y.ctypes.data + 4 * y_start,
        )


# Parallel loops write to arrays that are arguments: numba drops writes to members of a tuple.
@compiled(parallel=True)
def _list_all(
    layer: int,
    rows: int,
    n: int,
    group: Tag,
    width: Tag,
    shape: Shape,
    selection: Selection,
    lanes: Lanes,
    y: Floats,
    listed: Array,
    counts: Array,
    asked: Floats,
    scores: Floats,
) -> None:
    """Lists what every lane reads with each of its KV heads."""
    size, heads = LANES * len(width), len(group)
    for item in numba.prange(rows * shape.kv_heads):
        row, head = item // shape.kv_heads, item % shape.kv_heads
        groups = (lanes.tiles[row] + LANES - 1) // LANES
        start = (layer * shape.kv_heads + head) * groups * LANES * 2 * size
        counts[item] = _list_tiles(
            y,
            row * n + head * heads * size,
            lanes.clusters_at[row] + 4 * start,
            lanes.position[row],
            group,
            width,
            selection,
            asked,
            item * 2 * size,
            scores.reshape(-1),
            item * scores.shape[1],
            listed,
            item,
        )


@compiled()
def _cut_into_items(rows: int, shape: Shape, scratch: Scratch) -> int:
    items = 0
    for item in range(rows * shape.kv_heads):
        for first in range(0, scratch.counts[item], PART):
            scratch.items[items, 0], scratch.items[items, 1] = item, first
            items += 1
    return items


@compiled(parallel=True)
def _attend_all(
    layer: int,
    rows: int,
    n: int,
    items: int,
    group: Tag,
    width: Tag,
    shape: Shape,
    lanes: Lanes,
    kv: Array,
    y: Floats,
    listed: Array,
    counts: Array,
    parts: Array,
    scores: Floats,
    partial: Floats,
    largest: Floats,
    total: Floats,
) -> None:
    """Attention of all lanes, in parts of 16 tiles; then the parts of each are joined."""
    size, heads = LANES * len(width), len(group)
    span = heads * size
    for thread in numba.prange(shape.threads):
        for number in range(items * thread // shape.threads, items * (thread + 1) // shape.threads):
            item, first = parts[number, 0], parts[number, 1]
            row, head = item // shape.kv_heads, item % shape.kv_heads
            start = (layer * shape.kv_heads + head) * lanes.tiles[row] * LANES * size * kv.itemsize
            _attend(
                y.ctypes.data + 4 * (row * n + head * span),
                lanes.keys_at[row] + start,
                lanes.values_at[row] + start,
                lanes.position[row],
                listed,
                item,
                first,
                min(PART, counts[item] - first),
                group,
                width,
                kv,
                scores.reshape(-1),
                thread * scores.shape[1],
                partial.reshape(-1),
                number * span,
                largest,
                total,
                number,
            )


@compiled()
def _join_parts(items: int, group: Tag, width: Tag, scratch: Scratch) -> None:
    size, heads = LANES * len(width), len(group)
    attended = scratch.attended
    begin = 0
    while begin < items:
        item = scratch.items[begin, 0]
        end = begin
        while end < items and scratch.items[end, 0] == item:
            end += 1
        for head in range(heads):
            largest = _FLOOR
            for number in range(begin, end):
                largest = max(largest, scratch.partial_max[number, head])
            start = (item * heads + head) * size
            for i in range(size):
                attended[start + i] = np.float32(0)
            total = np.float32(0)
            for number in range(begin, end):
                weight = np.float32(math.exp(scratch.partial_max[number, head] - largest))
                total += weight * scratch.partial_sum[number, head]
                for i in range(size):
                    attended[start + i] += weight * scratch.partial[number, head * size + i]
            for i in range(size):
                attended[start + i] /= total
        begin = end


@compiled()
def _prepare(row: int, size: int, quantised: bool, x: Input) -> None:
    if quantised:
        _quantise(x, row, size)


@compiled()
def _copy(source: Floats, x: Input, row: int, size: int) -> None:
    for i in range(row * size, (row + 1) * size):
        x.floats[i] = source[i]


@compiled()
def _gate(y: Floats, x: Input, row: int, size: int) -> None:
    """silu(gate) · up, from y (M, 2 · size) into x (M, size)."""
    for i in range(0, size, LANES):
        gate_at = y.ctypes.data + 4 * (row * 2 * size + i)
        gate_tile(gate_at, gate_at + 4 * size, x.floats.ctypes.data + 4 * (row * size + i))


@compiled()
def _add(y: Floats, hidden: Floats, row: int, size: int) -> None:
    for i in range(row * size, (row + 1) * size):
        hidden[i] += y[i]


@compiled(parallel=True)
def read_routed(
    q: Floats,
    y: Floats,
    start: int,
    layer: int,
    group: Tag,
    width: Tag,
    shape: Shape,
    selection: Selection,
    lanes: Lanes,
    kv: Array,
    listed: Array,
    scores: Floats,
    asked: Floats,
    largest: Floats,
    total: Floats,
) -> None:
    """Attention of the queries of a slice, as in a step: q and y (T, KV · G · D) float32.

    The queries are scaled, the first stands at `start`; `lanes` has the sequence as its one member.
    The last five arrays have a line for each thread.
    """
    size, heads = LANES * len(width), len(group)
    span, tiles = heads * size, lanes.tiles[0]
    n = shape.kv_heads * span
    groups = (tiles + LANES - 1) // LANES
    flat_q, flat_y, flat_scores, flat_asked = (
        q.reshape(-1),
        y.reshape(-1),
        scores.reshape(-1),
        asked.reshape(-1),
    )
    items = q.shape[0] * shape.kv_heads
    for thread in numba.prange(shape.threads):
        for item in range(items * thread // shape.threads, items * (thread + 1) // shape.threads):
            head, row = item // q.shape[0], item % q.shape[0]
            place = row * n + head * span
            line = layer * shape.kv_heads + head
            count = _list_tiles(
                flat_q,
                place,
                lanes.clusters_at[0] + 4 * line * groups * LANES * 2 * size,
                start + row,
                group,
                width,
                selection,
                flat_asked,
                thread * 2 * size,
                flat_scores,
                thread * scores.shape[1],
                listed,
                thread,
            )
            kv_start = line * tiles * LANES * size * kv.itemsize
            _attend(
                flat_q.ctypes.data + 4 * place,
                lanes.keys_at[0] + kv_start,
                lanes.values_at[0] + kv_start,
                start + row,
                listed,
                thread,
                0,
                count,
                group,
                width,
                kv,
                flat_scores,
                thread * scores.shape[1],
                flat_y,
                place,
                largest,
                total,
                thread,
            )
            for query in range(heads):
                for i in range(place + query * size, place + (query + 1) * size):
                    flat_y[i] /= total[thread, query]


@compiled()
def head(hidden: Floats, logits: Floats, weights: Weights, shape: Shape, x: Input) -> None:
    """Logits (M, V) of hidden states (M · H,)."""
    rows, size = len(logits), len(hidden) // len(logits)
    for row in range(rows):
        _normalise(hidden, weights.final_norm, shape.epsilon, x, row, size)
        _prepare(row, size, weights.head.scale.size > 0, x)
    _linear(weights.head, 0, x, logits.reshape(-1), rows, size, logits.shape[1], shape.threads)


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
            _normalise(flat, weights.attention_norm[layer], shape.epsilon, x, row, size)
            _prepare(row, size, quantised, x)
        _linear(weights.qkv, layer, x, y, rows, size, n_qkv, threads)
        for row in range(rows):
            _remember(y, row, n_qkv, layer, width, shape, weights, lanes, kv)
        _list_all(
            layer,
            rows,
            n_qkv,
            group,
            width,
            shape,
            selection,
            lanes,
            y,
            scratch.listed,
            scratch.counts,
            scratch.asked,
            scratch.cluster_scores,
        )
        items = _cut_into_items(rows, shape, scratch)
        _attend_all(
            layer,
            rows,
            n_qkv,
            items,
            group,
            width,
            shape,
            lanes,
            kv,
            y,
            scratch.listed,
            scratch.counts,
            scratch.items,
            scratch.scores,
            scratch.partial,
            scratch.partial_max,
            scratch.partial_sum,
        )
        _join_parts(items, group, width, scratch)
        for row in range(rows):
            _copy(scratch.attended, x, row, attended_size)
            _prepare(row, attended_size, quantised, x)
        _linear(weights.out, layer, x, y, rows, attended_size, size, threads)
        for row in range(rows):
            _add(y, flat, row, size)
            _normalise(flat, weights.feed_forward_norm[layer], shape.epsilon, x, row, size)
            _prepare(row, size, quantised, x)
        _linear(weights.gate_up, layer, x, y, rows, size, 2 * inner, threads)
        for row in range(rows):
            _gate(y, x, row, inner)
            _prepare(row, inner, quantised, x)
        _linear(weights.down, layer, x, y, rows, inner, size, threads)
        for row in range(rows):
            _add(y, flat, row, size)
    head(flat, logits, weights, shape, x)
