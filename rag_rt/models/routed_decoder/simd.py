"""Products of small tiles for numba, written once for every processor.

Each function here becomes inline code. Arguments named `…_at` are addresses (int64); nothing is
bounds-checked. A result never depends on how many rows share a call: every row goes through the
same operations in the same order. Shapes that must be constants come as the length of a tuple
(`tag`).
"""

from collections.abc import Callable
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from rag_rt.models.routed_decoder.vectors import (
    BYTES,
    F32,
    F32X,
    GROUP,
    I8,
    I32,
    I32X,
    I64,
    LANES,
    TILE,
    Builder,
    Value,
    add_byte_products,
    bytes_of,
    call,
    cgutils,
    constant,
    exp,
    fma,
    int32,
    load,
    load_floats,
    loop,
    pointer,
    registers,
    rounded_bits,
    scaled,
    splat,
    store,
    store_floats,
)

# Called with one argument less than defined: numba adds the first.
intrinsic: Callable[[Callable[..., Any]], Any] = numba.extending.intrinsic

_MOST = float(np.finfo(np.float32).max)
_ZERO_POINT = 128  # 8-bit weights are stored as unsigned


@intrinsic
def float_tile(
    typing: Any, tag: Any, weights: Any, w_at: Any, k: Any, x_at: Any, y_at: Any, stride: Any
) -> Any:
    """y (R, 16 of rows of `stride`) = x (R, k) times a tile (k, 16) of weights.

    R is the length of `tag`; weights are float32, or uint16 that hold bfloat16.
    """
    rows, dtype = tag.count, weights.dtype

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, w_at, k, x_at, y_at, stride = arguments
        sums = registers(b, rows)

        def add(i: Value) -> None:
            w = load_floats(b, dtype, w_at, scaled(b, i, LANES * bytes_of(dtype)))
            for row, total in enumerate(sums):
                offset = b.add(scaled(b, scaled(b, k, row), 4), scaled(b, i, 4))
                x = splat(b, load(b, x_at, offset, F32, 4))
                b.store(fma(b, w, x, b.load(total)), total)

        loop(b, k, add)
        for row, total in enumerate(sums):
            store(b, b.load(total), y_at, scaled(b, stride, 4 * row))
        return context.get_dummy_value()

    return types.void(tag, weights, *[types.int64] * 5), code


@intrinsic
def quantised_tile(
    typing: Any,
    tag: Any,
    weights: Any,
    w_at: Any,
    scale_at: Any,
    least_at: Any,
    groups: Any,
    x_at: Any,
    x_scale_at: Any,
    x_sum_at: Any,
    y_at: Any,
    stride: Any,
) -> Any:
    """y (R, 16 of rows of `stride`) = x (R, K) times a tile (K, 16) of weights, K = 32 groups.

    Weights are int8 (stored as unsigned bytes, zero at 128; w = scale · level) or uint8 (two levels
    of 4 bits a byte; w = scale · level + least); scales and least values are bfloat16 (groups, 16).
    x is int8 with a float32 scale and an int32 sum for each row and group.
    """
    rows = tag.count
    nibbles = weights.dtype == types.uint8
    group_bytes = GROUP * LANES // (2 if nibbles else 1)

    def levels(b: Builder, w_at: Value, group: Value) -> list[Value]:
        base = b.add(w_at, scaled(b, group, group_bytes))
        loaded = [load(b, base, at, BYTES, 1) for at in range(0, group_bytes, 4 * LANES)]
        if not nibbles:
            return loaded
        low = ir.Constant(BYTES, [15] * 4 * LANES)
        four = ir.Constant(BYTES, [4] * 4 * LANES)
        return [b.and_(part, low) for part in loaded] + [b.lshr(part, four) for part in loaded]

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, w_at, scale_at, least_at, groups, x_at, x_scale_at, x_sum_at, y_at, stride = arguments
        sums = registers(b, rows)

        def add(group: Value) -> None:
            quads = levels(b, w_at, group)
            scale = load_floats(b, types.uint16, scale_at, scaled(b, group, 2 * LANES))
            least = None
            if nibbles:
                least = load_floats(b, types.uint16, least_at, scaled(b, group, 2 * LANES))
            for row, total in enumerate(sums):
                place = b.add(scaled(b, groups, row), group)
                x_scale = load(b, x_scale_at, scaled(b, place, 4), F32, 4)
                x_sum = load(b, x_sum_at, scaled(b, place, 4), I32, 4)
                start = int32(0) if nibbles else b.mul(x_sum, int32(-_ZERO_POINT))
                products = splat(b, start)
                x_base = b.add(x_at, scaled(b, place, GROUP))
                for number, quad in enumerate(quads):
                    x = load(b, x_base, 4 * number, I32, 1)
                    products = add_byte_products(b, products, quad, x)
                factor = b.fmul(scale, splat(b, x_scale))
                value = fma(b, b.sitofp(products, F32X), factor, b.load(total))
                if least is not None:
                    whole = b.fmul(b.sitofp(x_sum, F32), x_scale)
                    value = fma(b, least, splat(b, whole), value)
                b.store(value, total)

        loop(b, groups, add)
        for row, total in enumerate(sums):
            store(b, b.load(total), y_at, scaled(b, stride, 4 * row))
        return context.get_dummy_value()

    return types.void(tag, weights, *[types.int64] * 9), code


@intrinsic
def score_clusters(
    typing: Any,
    tag: Any,
    width: Any,
    clusters: Any,
    q_at: Any,
    clusters_at: Any,
    s_at: Any,
    stride: Any,
) -> Any:
    """Scores of G queries (G, E) with 16 clusters (E, 16), written to s (G, stride) from its start.

    G is the length of `tag`, E 16 times that of `width`.
    """
    heads, size, dtype = tag.count, LANES * width.count, clusters.dtype

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, _, q_at, clusters_at, s_at, stride = arguments
        sums = [constant(0.0)] * heads
        for d in range(size):
            cluster = load_floats(b, dtype, clusters_at, d * LANES * bytes_of(dtype))
            for head in range(heads):
                q = splat(b, load(b, q_at, 4 * (head * size + d), F32, 4))
                sums[head] = fma(b, cluster, q, sums[head])
        for head, total in enumerate(sums):
            store(b, total, s_at, scaled(b, stride, 4 * head))
        return context.get_dummy_value()

    return types.void(tag, width, clusters, *[types.int64] * 4), code


def _folded(b: Builder, first: Value, second: Value) -> Value:
    """Sums of neighbours: 8 of the first vector's, then 8 of the second's."""
    halves = [
        b.shuffle_vector(first, second, ir.Constant(I32X, list(range(start, 2 * LANES, 2))))
        for start in (0, 1)
    ]
    return b.fadd(*halves)


@intrinsic
def score_tiles(
    typing: Any,
    tag: Any,
    width: Any,
    keys: Any,
    q_at: Any,
    k_at: Any,
    tiles_at: Any,
    s_at: Any,
    stride: Any,
) -> Any:
    """Scores of G queries with the keys of four tiles, s (G, 16 of rows of `stride`).

    Keys are (S/4, D/4, 4 keys, 4 of D), tiles four int32 numbers of tiles, queries (G, D/4, 16),
    where each four numbers stand four times. G is the length of `tag`, D 16 times that of `width`.
    """
    heads, size, dtype = tag.count, LANES * width.count, keys.dtype
    tile_bytes = TILE * size * bytes_of(dtype)

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, _, q_at, k_at, tiles_at, s_at, stride = arguments
        of_tiles = []
        for tile in range(LANES // TILE):
            number = b.sext(load(b, tiles_at, 4 * tile, I32, 4), I64)
            tile_at = b.add(k_at, scaled(b, number, tile_bytes))
            sums = [constant(0.0)] * heads
            for part in range(size // TILE):
                k = load_floats(b, dtype, tile_at, part * LANES * bytes_of(dtype))
                for head in range(heads):
                    q = load(b, q_at, 4 * (head * size * TILE + part * LANES), F32X, 4)
                    sums[head] = fma(b, k, q, sums[head])
            of_tiles.append(sums)
        for head in range(heads):
            one, two, three, four = (sums[head] for sums in of_tiles)
            whole = _folded(b, _folded(b, one, two), _folded(b, three, four))
            store(b, whole, s_at, scaled(b, stride, 4 * head))
        return context.get_dummy_value()

    return types.void(tag, width, keys, *[types.int64] * 5), code


@intrinsic
def prefetch_tiles(typing: Any, width: Any, array: Any, at: Any, tiles_at: Any) -> Any:
    """Fetches four tiles of keys or values (S, D), which the processor would not see coming."""
    tile_bytes = TILE * LANES * width.count * bytes_of(array.dtype)

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, at, tiles_at = arguments
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        prefetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        for tile in range(LANES // TILE):
            number = b.sext(load(b, tiles_at, 4 * tile, I32, 4), I64)
            tile_at = b.add(at, scaled(b, number, tile_bytes))
            for line in range(0, tile_bytes, 64):
                b.call(prefetch, [pointer(b, tile_at, line, I8), int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.void(width, array, types.int64, types.int64), code


@intrinsic
def add_values(
    typing: Any,
    tag: Any,
    width: Any,
    values: Any,
    p_at: Any,
    stride: Any,
    v_at: Any,
    tiles_at: Any,
    y_at: Any,
) -> Any:
    """y (G, D) += p (G, 16 of rows of `stride`) times the values (S, D) of four tiles."""
    heads, size, dtype = tag.count, LANES * width.count, values.dtype
    chunk = min(size, 4 * LANES)  # of D: so that the sums of four heads fit the registers
    tile_bytes = TILE * size * bytes_of(dtype)

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, _, _, p_at, stride, v_at, tiles_at, y_at = arguments
        tiles = [
            b.add(v_at, scaled(b, b.sext(load(b, tiles_at, 4 * tile, I32, 4), I64), tile_bytes))
            for tile in range(LANES // TILE)
        ]
        for start in range(0, size, chunk):
            columns = range(start, start + chunk, LANES)
            places = [(head, column) for head in range(heads) for column in columns]
            sums = {
                (head, column): load(b, y_at, 4 * (head * size + column), F32X, 4)
                for head, column in places
            }
            for key in range(LANES):
                at = (key % TILE) * size
                row = {
                    column: load_floats(
                        b, dtype, tiles[key // TILE], (at + column) * bytes_of(dtype)
                    )
                    for column in columns
                }
                for head in range(heads):
                    offset = b.add(scaled(b, stride, 4 * head), ir.Constant(I64, 4 * key))
                    p = splat(b, load(b, p_at, offset, F32, 4))
                    for column in columns:
                        sums[head, column] = fma(b, row[column], p, sums[head, column])
            for head, column in places:
                store(b, sums[head, column], y_at, 4 * (head * size + column))
        return context.get_dummy_value()

    return types.void(tag, width, values, *[types.int64] * 5), code


def _extreme(b: Builder, which: str, x_at: Value, tiles: Value, least: float) -> Value:
    """The `max` or `min` of 16 times `tiles` numbers and of `least`."""
    slot = cgutils.alloca_once(b, F32X)
    b.store(constant(least), slot)

    def compare(tile: Value) -> None:
        x = load(b, x_at, scaled(b, tile, 4 * LANES), F32X, 4)
        b.store(call(b, f"llvm.{which}num.v16f32", F32X, (x, b.load(slot))), slot)

    loop(b, tiles, compare)
    return call(b, f"llvm.vector.reduce.f{which}.v16f32", F32, (b.load(slot),))


@intrinsic
def largest_in(typing: Any, x_at: Any, tiles: Any) -> Any:
    """The largest of 16 times `tiles` float32; LLVM does not make vectors of numba's `max`."""

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, tiles = arguments
        return _extreme(b, "max", x_at, tiles, -_MOST)

    return types.float32(types.int64, types.int64), code


@intrinsic
def smallest_in(typing: Any, x_at: Any, tiles: Any) -> Any:
    """The smallest of 16 times `tiles` float32."""

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, tiles = arguments
        return _extreme(b, "min", x_at, tiles, _MOST)

    return types.float32(types.int64, types.int64), code


@intrinsic
def exp_tile(typing: Any, x_at: Any, shift: Any) -> Any:
    """16 numbers x become exp(x - shift)."""

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, shift = arguments
        store(b, exp(b, b.fsub(load(b, x_at, 0, F32X, 4), splat(b, shift))), x_at, 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), code


@intrinsic
def quantise_group(typing: Any, x_at: Any, levels_at: Any, scale_at: Any, sum_at: Any) -> Any:
    """32 float32 x become int8 levels, with their scale (float32) and sum (int32)."""

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, levels_at, scale_at, sum_at = arguments
        halves = [load(b, x_at, at, F32X, 4) for at in (0, 4 * LANES)]
        sizes = [call(b, "llvm.fabs.v16f32", F32X, (half,)) for half in halves]
        both = call(b, "llvm.maxnum.v16f32", F32X, sizes)
        largest = call(b, "llvm.vector.reduce.fmax.v16f32", F32, (both,))
        scale = b.fmul(largest, ir.Constant(F32, 1 / 127))
        empty = b.fcmp_ordered("==", scale, ir.Constant(F32, 0.0))
        inverse = b.fdiv(ir.Constant(F32, 1.0), scale)
        inverse = splat(b, b.select(empty, ir.Constant(F32, 0.0), inverse))
        total = ir.Constant(I32X, [0] * LANES)
        for number, half in enumerate(halves):
            nearest = call(b, "llvm.rint.v16f32", F32X, (b.fmul(half, inverse),))
            levels = b.fptosi(nearest, I32X)
            total = b.add(total, levels)
            narrow = b.trunc(levels, ir.VectorType(I8, LANES))
            b.store(narrow, pointer(b, levels_at, number * LANES, narrow.type), align=1)
        whole = call(b, "llvm.vector.reduce.add.v16i32", I32, (total,))
        store(b, scale, scale_at, 0)
        store(b, whole, sum_at, 0)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), code


@intrinsic
def gate_tile(typing: Any, gates: Any, gate_at: Any, up_at: Any, y_at: Any) -> Any:
    """y (16) = silu(gate) · up, all in the type of `gates`: float32, or uint16 as bfloat16."""
    dtype = gates.dtype

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, gate_at, up_at, y_at = arguments
        gate = load_floats(b, dtype, gate_at, 0)
        silu = b.fdiv(gate, b.fadd(exp(b, b.fneg(gate)), constant(1.0)))
        store_floats(b, dtype, b.fmul(silu, load_floats(b, dtype, up_at, 0)), y_at)
        return context.get_dummy_value()

    return types.void(gates, *[types.int64] * 3), code


@intrinsic
def store_float(typing: Any, array: Any, address: Any, value: Any) -> Any:
    """Writes a float32 at an address, in the type of `array`: float32, or uint16 as bfloat16."""
    dtype = array.dtype

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, address, value = arguments
        if dtype == types.uint16:
            value = rounded_bits(b, value)
        b.store(value, pointer(b, address, 0, value.type))
        return context.get_dummy_value()

    return types.void(array, types.int64, types.float32), code


@intrinsic
def widened(typing: Any, stored: Any) -> Any:
    """A float32 of an array of float32, or of uint16 that hold bfloat16."""

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        (value,) = arguments
        if stored == types.float32:
            return value
        return b.bitcast(b.shl(b.zext(value, I32), int32(16)), F32)

    return types.float32(stored), code


@intrinsic
def narrowed(typing: Any, array: Any, value: Any) -> Any:
    """A float32 as the type of `array` holds it: float32, or uint16 as bfloat16."""
    dtype = array.dtype

    def code(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        _, value = arguments
        return rounded_bits(b, value) if dtype == types.uint16 else value

    return dtype(array, types.float32), code
