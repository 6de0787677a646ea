"""Which tiles of keys a query reads: `rag_rt.attention.routed_keys`, compiled."""

import numpy as np

from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import Array, Floats, Selection, Tag
from rag_rt.models.routed_decoder.simd import largest_in, score_clusters, smallest_in
from rag_rt.models.routed_decoder.vectors import LANES, TILE

FLOOR = np.float32(-1e30)


@compiled()
def largest_of(x: Floats, start: int, size: int) -> np.float32:
    """The largest of some numbers, at least `FLOOR`."""
    tiles = size // LANES
    largest: np.float32 = max(FLOOR, largest_in(x.ctypes.data + 4 * start, tiles))
    for i in range(start + tiles * LANES, start + size):
        largest = max(largest, x[i])
    return largest


@compiled()
def _smallest(x: Floats, start: int, size: int) -> np.float32:
    tiles = size // LANES
    smallest: np.float32 = min(-FLOOR, smallest_in(x.ctypes.data + 4 * start, tiles))
    for i in range(start + tiles * LANES, start + size):
        smallest = min(smallest, x[i])
    return smallest


@compiled(fast=True)
def _raise(worth: Floats, scores: Floats, largest: np.float32) -> None:
    """How near scores come to the largest, where that is more than they are worth so far."""
    for i in range(len(worth)):
        worth[i] = max(worth[i], scores[i] - largest)


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
    smallest, high = _smallest(scores, start, count), largest_of(scores, start, count)
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
    line, best = listed[item], scores[start : start + count]
    for i in range(count):  # without branches, which nobody could predict
        chosen = best[i] > high
        if equals > 0 and not chosen and best[i] > low:
            chosen, equals = True, equals - 1
        line[filled] = first + i
        filled += chosen
    return filled


@compiled()
def clusters_to_score(position: int, selection: Selection) -> int:
    """How many clusters a query at a position chooses among; 0 if it reads every key."""
    last = position // TILE
    block = max(0, last - selection.sink_tiles) // selection.block_tiles
    clusters = block * selection.block_tiles
    own = last + 1 - selection.sink_tiles - clusters
    read = selection.budget_tiles - selection.sink_tiles - own
    return 0 if position < selection.dense_below or clusters <= read else clusters


@compiled()
def ask(
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
def score_heads(
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
def list_tiles(
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
    last, clusters = position // TILE, clusters_to_score(position, selection)
    if clusters == 0:
        for tile in range(last + 1):
            listed[item, tile] = tile
        return last + 1
    worth = scores[start : start + clusters]
    worth[:] = FLOOR
    for head in range(heads):
        place = start + (head + 1) * room
        _raise(worth, scores[place : place + clusters], largest_of(scores, place, clusters))
    own, filled = selection.sink_tiles + clusters, selection.sink_tiles
    for tile in range(filled):
        listed[item, tile] = tile
    read = selection.budget_tiles - selection.sink_tiles - (last + 1 - own)
    filled = _keep_best(scores, start, clusters, read, listed, item, filled, selection.sink_tiles)
    for tile in range(own, last + 1):
        listed[item, filled] = tile
        filled += 1
    return filled
