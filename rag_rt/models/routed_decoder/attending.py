"""Attention of a few rows over their own keys, dense or routed."""

import math

import numba
import numpy as np

from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import (
    PART,
    Array,
    Floats,
    Lanes,
    Scratch,
    Selection,
    Shape,
    Tag,
    Weights,
)
from rag_rt.models.routed_decoder.selecting import (
    FLOOR,
    ask,
    clusters_to_score,
    largest_of,
    list_tiles,
    score_heads,
)
from rag_rt.models.routed_decoder.simd import (
    add_values,
    exp_tile,
    prefetch_tiles,
    score_tiles,
    store_float,
)
from rag_rt.models.routed_decoder.vectors import LANES, TILE

_SCORE_PARTS = 4  # of the clusters of a head, scored by different threads


@compiled(fast=True)
def _total(x: Floats, start: int, size: int) -> np.float32:
    total = np.float32(0)
    for i in range(start, start + size):
        total += x[i]
    return total


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
def remember(
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
        prefetch_tiles(width, kv, v_at, tiles_at + i)
        if i + LANES < room:
            prefetch_tiles(width, kv, k_at, tiles_at + i + LANES)
        score_tiles(group, width, kv, q_at, k_at, tiles_at + i, s_at + 4 * i, room)
    seen = count * TILE - (TILE - 1 - position % TILE if ends else 0)
    for head in range(heads):
        place = start + head * room
        for i in range(place + seen, place + room):
            scores[i] = FLOOR
        largest[out, head] = largest_of(scores, place, room)
        for i in range(0, room, LANES):
            exp_tile(scores.ctypes.data + 4 * (place + i), largest[out, head])
        total[out, head] = _total(scores, place, room)
    for i in range(heads * size):
        y[y_start + i] = np.float32(0)
    y_at = y.ctypes.data + 4 * y_start
    for i in range(0, room, LANES):
        add_values(group, width, kv, s_at + 4 * i, room, v_at, tiles_at + i, y_at)


@compiled()
def ask_all(
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
        ask(y, place, heads, size, selection, scratch.asked, item * heads * 2 * size)


# Parallel loops write to arrays that are arguments: numba drops writes to members of a tuple.
@compiled(parallel=True)
def score_all(
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
        clusters = clusters_to_score(lanes.position[row], selection)
        sixteens = (clusters + LANES - 1) // LANES
        begin = sixteens * (part % _SCORE_PARTS) // _SCORE_PARTS * LANES
        end = sixteens * (part % _SCORE_PARTS + 1) // _SCORE_PARTS * LANES
        room = (lanes.tiles[row] + LANES - 1) // LANES * LANES
        start = (layer * shape.kv_heads + head) * room * 2 * LANES * len(width) * kv.itemsize
        score_heads(
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
def list_all(
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
        counts[item] = list_tiles(
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
def cut_into_items(rows: int, shape: Shape, scratch: Scratch) -> int:
    """Cuts what was listed into work items of `PART` tiles; returns their number."""
    items = 0
    for item in range(rows * shape.kv_heads):
        for first in range(0, scratch.counts[item], PART):
            scratch.items[items, 0], scratch.items[items, 1] = item, first
            items += 1
    return items


@compiled(parallel=True)
def attend_all(
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
    """Attention of all lanes, in parts of `PART` tiles, which `join_parts` joins."""
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
def join_parts(items: int, group: Tag, width: Tag, scratch: Scratch) -> None:
    """Joins the parts of each lane and head, weighed by their largest scores and sums."""
    size, heads = LANES * len(width), len(group)
    attended = scratch.attended
    begin = 0
    while begin < items:
        item = scratch.items[begin, 0]
        end = begin
        while end < items and scratch.items[end, 0] == item:
            end += 1
        for head in range(heads):
            largest = FLOOR
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
            clusters = clusters_to_score(start + row, selection)
            if clusters:
                ask(flat_q, place, heads, size, selection, flat_asked, thread * 2 * span)
                score_heads(
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
            count = list_tiles(
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
