"""Products of a few rows with packed weights, and what happens to each row between them."""

import math

import numba
import numpy as np

from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import Floats, Input, Linear
from rag_rt.models.routed_decoder.simd import (
    float_tile,
    gate_tile,
    quantise_group,
    quantised_tile,
)
from rag_rt.models.routed_decoder.vectors import GROUP, LANES

_ONE, _FOUR = (0,), (0, 0, 0, 0)


@compiled(fast=True)
def _sum_of_squares(x: Floats, start: int, size: int) -> np.float32:
    total = np.float32(0)
    for i in range(start, start + size):
        total += x[i] * x[i]
    return total


@compiled()
def normalise(
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
def quantise(x: Input, row: int, size: int) -> None:
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
def linear(
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
def prepare(row: int, size: int, quantised: bool, x: Input) -> None:
    """Makes a row ready for weights of few bits, or leaves it."""
    if quantised:
        quantise(x, row, size)


@compiled()
def take(source: Floats, x: Input, row: int, size: int) -> None:
    """A row of another array becomes one of x."""
    for i in range(row * size, (row + 1) * size):
        x.floats[i] = source[i]


@compiled()
def gate(y: Floats, x: Input, row: int, size: int) -> None:
    """silu(gate) · up, from y (M, 2 · size) into x (M, size)."""
    for i in range(0, size, LANES):
        gate_at = y.ctypes.data + 4 * (row * 2 * size + i)
        gate_tile(y, gate_at, gate_at + 4 * size, x.floats.ctypes.data + 4 * (row * size + i))


@compiled()
def add_to(y: Floats, hidden: Floats, row: int, size: int) -> None:
    """Adds a row of y to the hidden states."""
    for i in range(row * size, (row + 1) * size):
        hidden[i] += y[i]
