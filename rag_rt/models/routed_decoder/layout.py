"""What the kernels take: weights, lanes and room to compute in, as tuples that numba unpacks.

Letters are those of `kernels`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Tag = tuple[int, ...]  # a number that the compiler knows: the tuple's length

PART = 64  # tiles that one work item of attention reads: 256 keys


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
