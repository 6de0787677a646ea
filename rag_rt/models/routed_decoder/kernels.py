"""One step of a Llama-family decoder: a few tokens of a few sequences, through all layers at once.

Glossary: M tokens of the step ("lanes"), L layers, H hidden size, KV key-value heads, G query heads
of each, D head size, V vocabulary, S keys. Keys lie in tiles of 4: (L, KV, S/4, D/4, 4 keys, 4 of
D), values as (L, KV, S, D). A tile is a stretch of positions until its block is clustered; then it
is a cluster.

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
    TILE,
    add_values,
    exp_tile,
    float_tile,
    gate_tile,
    quantise_group,
    quantised_tile,
    score_clusters,
    score_tiles,
    store_float,
)

Floats = npt.NDArray[np.float32]
Tag = tuple[int, ...]  # a number that the compiler knows: the tuple's length
Array = npt.NDArray[Any]

PART = 64  # tiles that one work item of attention reads: 256 keys
_SCORE_PARTS = 4  # of the clusters of a head, scored by different threads
_ONE, _FOUR = (0,), (0, 0, 0, 0)
_FLOOR = np.float32(-1e30)


class Linear(NamedTuple):
    """Weights of a linear layer in every layer of the model, packed in tiles of 16 outputs.

    float32 and bfloat16 (as uint16): (L, N/16 · K · 16). int8: as many unsigned levels, in groups
    of 32 inputs; uint8: two levels a byte. `scale` and `least` are bfloat16 as uint16,
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
    clusters_at: npt.NDArray[np.int64]  # mean and variance (L, KV, ⌈tiles/16⌉, 2 D, 16)


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
    listed: npt.NDArray[np.int32]  # (M · KV, tiles + 3)
    counts: npt.NDArray[np.int64]  # (M · KV,)
    items: npt.NDArray[np.int64]  # (M · KV · parts, 2): lane and head, first of its tiles
    scores: Floats  # (threads, G · PART · 4)
    asked: Floats  # (M · KV · G · 2 D,)
    spread: Floats  # (M · KV · G · 4 D,)
    cluster_scores: Floats  # (M · KV, (G + 1) · tiles rounded up to 16)
    partial: Floats  # (items, G · D)
    partial_max: Floats  # (items, G)
    partial_sum: Floats  # (items, G)


class ReadScratch(NamedTuple):
    """Room for reading a slice by routed attention, a line for each thread."""

    listed: npt.NDArray[np.int32]  # (threads, tiles + 3)
    scores: Floats  # (threads, G · S, or what choosing clusters takes)
    asked: Floats  # (threads, G · 2 D)
    spread: Floats  # (threads, G · 4 D)
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
    for group in range(row * groups, (row + 1) * groups):
        quantise_group(
            x.floats.ctypes.data + 4 * group * GROUP,
            x.levels.ctypes.data + group * GROUP,
            x.scale.ctypes.data + 4 * group,
            x.sum.ctypes.data + 4 * group,
        )


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
        first = (layer * shape.kv_heads + head) * tiles * TILE * size
        k_at = first + (position // TILE) * TILE * size + position % TILE * TILE
        v_at = first + position * size
        v_start = start + shape.kv_heads * size
        for i in range(size):
            store_float(
                kv,
                lanes.keys_at[row] + (k_at + i // TILE * LANES + i % TILE) * kv.itemsize,
                y[start + i],
            )
            store_float(kv, lanes.values_at[row] + (v_at + i) * kv.itemsize, y[v_start + i])


@compiled(fast=True)
def _smallest(x: Floats, start: int, size: int) -> np.float32:
    smallest = -_FLOOR
    for i in range(start, start + size):
        smallest = min(smallest, x[i])
    return smallest


@compiled()
def _count_above(x: Floats, start: int, size: int, bound: np.float32) -> int:
    count = 0
    for i in range(start, start + size):
        count += x[i] > bound
    return count


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
    smallest, high = _smallest(scores, start, count), _largest(scores, start, count)
    low = smallest - np.float32(0.5) * abs(smallest) - np.float32(1)
    above = 0  # scores above `high`: at most `keep`; those above `low` are more
    while above < keep:
        middle = low + (high - low) * np.float32(0.5)
        if (
            middle <= low or middle >= high
        ):  # only equal scores lie above `low` and not above `high`
            break
        reached = _count_above(scores, start, count, middle)
        if reached > keep:
            low = middle
        else:
            high, above = middle, reached
    equals = keep - above
    for i in range(count):
        score = scores[start + i]
        if score > high or (score > low and equals > 0):
            equals -= score <= high
            listed[item, filled] = first + i
            filled += 1
    return filled


@compiled()
def _clusters_to_score(position: int, selection: Selection) -> int:
    """How many clusters a query at a position chooses among; 0 if it reads every key."""
    last = position // TILE
    block = max(0, last - selection.sink_tiles) // selection.block_tiles
    clusters = block * selection.block_tiles
    own = last + 1 - selection.sink_tiles - clusters
    read = selection.budget_tiles - selection.sink_tiles - own
    return 0 if position < selection.dense_below or clusters <= read else clusters


@compiled()
def _ask(
    q: Floats,
    q_start: int,
    heads: int,
    size: int,
    selection: Selection,
    asked: Floats,
    asked_start: int,
) -> None:
    """What clusters are scored with: of each query (G, D) its numbers and their squares."""
    for head in range(heads):
        for i in range(size):
            number = q[q_start + head * size + i]
            place = asked_start + head * 2 * size + i
            asked[place] = number
            asked[place + size] = np.float32(selection.spread) * number * number


@compiled()
def _score_clusters(
    asked: Floats,
    asked_start: int,
    clusters_at: int,
    begin: int,
    end: int,
    group: Tag,
    width: Tag,
    kv: Array,
    scores: Floats,
    start: int,
    room: int,
) -> None:
    """Scores of clusters for each head (G, room), from `start` + `room` on; 16 at a time."""
    size = 2 * LANES * len(width)
    for first in range(begin, end, LANES):
        score_clusters(
            group,
            width + width,
            kv,
            asked.ctypes.data + 4 * asked_start,
            clusters_at + first * size * kv.itemsize,
            scores.ctypes.data + 4 * (start + room + first),
            room,
        )


@compiled()
def _list_tiles(
    position: int,
    heads: int,
    selection: Selection,
    scores: Floats,
    start: int,
    room: int,
    listed: Array,
    item: int,
) -> int:
    """Lists the tiles that the queries of one KV head read; returns their number.

    A cluster is worth how near it comes to the best of some head, by the heads' scores.
    """
    last, clusters = position // TILE, _clusters_to_score(position, selection)
    if clusters == 0:
        for tile in range(last + 1):
            listed[item, tile] = tile
        return last + 1
    for head in range(heads):
        place = start + (head + 1) * room
        largest = _largest(scores, place, clusters)
        for i in range(clusters):
            found = scores[place + i] - largest
            scores[start + i] = max(scores[start + i], found) if head else found
    own, filled = selection.sink_tiles + clusters, selection.sink_tiles
    for tile in range(filled):
        listed[item, tile] = tile
    read = selection.budget_tiles - selection.sink_tiles - (last + 1 - own)
    filled = _keep_best(scores, start, clusters, read, listed, item, filled, selection.sink_tiles)
    for tile in range(own, last + 1):
        listed[item, filled] = tile
        filled += 1
    return filled


@compiled()
def _spread(q: Floats, start: int, numbers: int, spread: Floats, spread_start: int) -> None:
    """Each four numbers four times, as `score_tiles` reads queries."""
    for four in range(0, numbers, TILE):
        for copy in range(TILE):
            for i in range(TILE):
                spread[spread_start + (four + copy) * TILE + i] = q[start + four + i]


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
    ends: bool,
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
    """Attention over listed tiles: y (G, D) unnormalised, each head's largest score and sum.

    `ends` says that the last of them is the position's own tile, of which later keys are hidden.
    The list has room for numbers that fill up its last four.
    """
    heads, size = len(group), LANES * len(width)
    for i in range(first + count, first + (count + 3) // 4 * 4):
        listed[item, i] = listed[item, first + count - 1]
    room = (count + 3) // 4 * LANES
    s_at = scores.ctypes.data + 4 * start
    tiles_at = listed.ctypes.data + 4 * (item * listed.shape[1] + first)
    for i in range(0, room, LANES):
        score_tiles(group, width, kv, q_at, k_at, tiles_at + i, s_at + 4 * i, room)
    seen = count * TILE - (TILE - 1 - position % TILE if ends else 0)
    for head in range(heads):
        place = start + head * room
        for i in range(place + seen, place + room):
            scores[i] = _FLOOR
        largest[out, head] = _largest(scores, place, room)
        for i in range(0, room, LANES):
            exp_tile(scores.ctypes.data + 4 * (place + i), largest[out, head])
        total[out, head] = _total(scores, place, room)
    for i in range(heads * size):
        y[y_start + i] = np.float32(0)
    y_at = y.ctypes.data + 4 * y_start
    for i in range(0, room, LANES):
        add_values(group, width, kv, s_at + 4 * i, room, v_at, tiles_at + i, y_at)


@compiled()
def _ask_all(
    row: int,
    n: int,
    width: Tag,
    shape: Shape,
    selection: Selection,
    y: Floats,
    scratch: Scratch,
) -> None:
    """Prepares a lane's queries for choosing clusters and for reading keys."""
    size, heads = LANES * len(width), shape.heads // shape.kv_heads
    for head in range(shape.kv_heads):
        place, item = row * n + head * heads * size, row * shape.kv_heads + head
        _spread(y, place, heads * size, scratch.spread, item * heads * size * TILE)
        _ask(y, place, heads, size, selection, scratch.asked, item * heads * 2 * size)


# Parallel loops write to arrays that are arguments: numba drops writes to members of a tuple.
@compiled(parallel=True)
def _score_all(
    layer: int,
    rows: int,
    group: Tag,
    width: Tag,
    shape: Shape,
    selection: Selection,
    lanes: Lanes,
    kv: Array,
    asked: Floats,
    scores: Floats,
) -> None:
    """Scores the clusters for all lanes and heads, in parts that keep all threads busy."""
    span = len(group) * 2 * LANES * len(width)
    for part in numba.prange(rows * shape.kv_heads * _SCORE_PARTS):
        item = part // _SCORE_PARTS
        row, head = item // shape.kv_heads, item % shape.kv_heads
        clusters = _clusters_to_score(lanes.position[row], selection)
        sixteens = (clusters + LANES - 1) // LANES
        begin = sixteens * (part % _SCORE_PARTS) // _SCORE_PARTS * LANES
        end = sixteens * (part % _SCORE_PARTS + 1) // _SCORE_PARTS * LANES
        room = (lanes.tiles[row] + LANES - 1) // LANES * LANES
        start = (layer * shape.kv_heads + head) * room * 2 * LANES * len(width) * kv.itemsize
        _score_clusters(
            asked,
            item * span,
            lanes.clusters_at[row] + start,
            begin,
            end,
            group,
            width,
            kv,
            scores.reshape(-1),
            item * scores.shape[1],
            room,
        )


@compiled(parallel=True)
def _list_all(
    rows: int,
    shape: Shape,
    selection: Selection,
    lanes: Lanes,
    listed: Array,
    counts: Array,
    scores: Floats,
) -> None:
    """Lists what every lane reads with each of its KV heads."""
    for item in numba.prange(rows * shape.kv_heads):
        row = item // shape.kv_heads
        counts[item] = _list_tiles(
            lanes.position[row],
            shape.heads // shape.kv_heads,
            selection,
            scores.reshape(-1),
            item * scores.shape[1],
            (lanes.tiles[row] + LANES - 1) // LANES * LANES,
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
    items: int,
    group: Tag,
    width: Tag,
    shape: Shape,
    lanes: Lanes,
    kv: Array,
    spread: Floats,
    listed: Array,
    counts: Array,
    parts: Array,
    scores: Floats,
    partial: Floats,
    largest: Floats,
    total: Floats,
) -> None:
    """Attention of all lanes, in parts of `PART` tiles, which `_join_parts` joins."""
    size, heads = LANES * len(width), len(group)
    span = heads * size
    for thread in numba.prange(shape.threads):
        for number in range(items * thread // shape.threads, items * (thread + 1) // shape.threads):
            item, first = parts[number, 0], parts[number, 1]
            row, head = item // shape.kv_heads, item % shape.kv_heads
            start = (layer * shape.kv_heads + head) * lanes.tiles[row] * TILE * size * kv.itemsize
            _attend(
                spread.ctypes.data + 4 * item * span * TILE,
                lanes.keys_at[row] + start,
                lanes.values_at[row] + start,
                lanes.position[row],
                listed,
                item,
                first,
                min(PART, counts[item] - first),
                first + PART >= counts[item],
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
    spread: Floats,
    largest: Floats,
    total: Floats,
) -> None:
    """Attention of the queries of a slice, as in a step: q and y (T, KV · G · D) float32.

    The queries are scaled, the first stands at `start`; `lanes` has the sequence as its one member.
    The last six arrays have a line for each thread.
    """
    size, heads = LANES * len(width), len(group)
    span, tiles = heads * size, lanes.tiles[0]
    n = shape.kv_heads * span
    room = (tiles + LANES - 1) // LANES * LANES
    flat_q, flat_y, flat_scores = q.reshape(-1), y.reshape(-1), scores.reshape(-1)
    flat_asked, flat_spread = asked.reshape(-1), spread.reshape(-1)
    items = q.shape[0] * shape.kv_heads
    for thread in numba.prange(shape.threads):
        for item in range(items * thread // shape.threads, items * (thread + 1) // shape.threads):
            head, row = item // q.shape[0], item % q.shape[0]
            place = row * n + head * span
            line = layer * shape.kv_heads + head
            clusters = _clusters_to_score(start + row, selection)
            if clusters:
                _ask(flat_q, place, heads, size, selection, flat_asked, thread * 2 * span)
                _score_clusters(
                    flat_asked,
                    thread * 2 * span,
                    lanes.clusters_at[0] + line * room * 2 * size * kv.itemsize,
                    0,
                    clusters,
                    group,
                    width,
                    kv,
                    flat_scores,
                    thread * scores.shape[1],
                    room,
                )
            count = _list_tiles(
                start + row,
                heads,
                selection,
                flat_scores,
                thread * scores.shape[1],
                room,
                listed,
                thread,
            )
            kv_start = line * tiles * TILE * size * kv.itemsize
            _spread(flat_q, place, span, flat_spread, thread * span * TILE)
            _attend(
                flat_spread.ctypes.data + 4 * thread * span * TILE,
                lanes.keys_at[0] + kv_start,
                lanes.values_at[0] + kv_start,
                start + row,
                listed,
                thread,
                0,
                count,
                True,
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
        for row in range(rows):
            _ask_all(row, n_qkv, width, shape, selection, y, scratch)
        _score_all(
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
        _list_all(
            rows,
            shape,
            selection,
            lanes,
            scratch.listed,
            scratch.counts,
            scratch.cluster_scores,
        )
        items = _cut_into_items(rows, shape, scratch)
        _attend_all(
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
