"""Vector instructions for numba: products of small tiles, written once for every processor.

Each function here becomes inline code on vectors of 16 lanes, which LLVM maps to what the processor
has (AVX-512, AVX2, NEON). Arguments named `…_at` are addresses (int64); nothing is bounds-checked.
A result never depends on how many rows share a call: every row goes through the same operations in
the same order. Shapes that must be constants come as the length of a tuple (`tag`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numba.extending
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.core import config as untyped_config

cgutils: Any = untyped_cgutils
config: Any = untyped_config
# Called with one argument less than defined: numba adds the first.
intrinsic: Callable[[Callable[..., Any]], Any] = numba.extending.intrinsic

LANES = 16
TILE = 4  # keys that lie together; scores of four tiles fill the lanes
GROUP = 32  # weights that share a scale, as in GGUF's Q4_1
_ZERO_POINT = 128  # 8-bit weights are stored as unsigned

_F32, _I8, _I16, _I32, _I64 = (
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
_F32X = ir.VectorType(_F32, LANES)
_I32X = ir.VectorType(_I32, LANES)
_BYTES = ir.VectorType(_I8, 4 * LANES)
_WORDS = ir.VectorType(_I16, 4 * LANES)

_Builder = Any  # llvmlite ships no types
_Value = Any


def _features() -> str:
    return str(config.CPU_FEATURES or llvm.get_host_cpu_features().flatten())


def has_byte_products() -> bool:
    """Whether the processor multiplies unsigned by signed bytes and adds (AVX512-VNNI)."""
    return config.CPU_NAME != "generic" and "+avx512vnni" in _features()


def _i32(value: int) -> _Value:
    return ir.Constant(_I32, value)


def _at(b: _Builder, address: _Value, offset: _Value | int, kind: _Value) -> _Value:
    """A pointer to `kind` at `address` plus an offset in bytes."""
    if isinstance(offset, int):
        offset = ir.Constant(_I64, offset)
    return b.inttoptr(b.add(address, offset), kind.as_pointer())


def _load(b: _Builder, address: _Value, offset: _Value | int, kind: _Value, align: int) -> _Value:
    value = b.load(_at(b, address, offset, kind), typ=kind)
    value.align = align
    return value


def _store(b: _Builder, value: _Value, address: _Value, offset: _Value | int) -> None:
    b.store(value, _at(b, address, offset, value.type), align=4)


def _splat(b: _Builder, value: _Value) -> _Value:
    kind = ir.VectorType(value.type, LANES)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, _i32(0))
    zeros = ir.Constant(_I32X, [0] * LANES)
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def _constant(value: float) -> _Value:
    return ir.Constant(_F32X, [value] * LANES)


def _call(b: _Builder, name: str, result: _Value, arguments: Sequence[_Value]) -> _Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), list(arguments))


def _fma(b: _Builder, x: _Value, y: _Value, z: _Value) -> _Value:
    return _call(b, "llvm.fmuladd.v16f32", _F32X, (x, y, z))


def _widened(b: _Builder, words: _Value) -> _Value:
    """16 bfloat16 as float32."""
    bits = b.shl(b.zext(words, _I32X), ir.Constant(_I32X, [16] * LANES))
    return b.bitcast(bits, _F32X)


def _load_floats(b: _Builder, dtype: Any, address: _Value, offset: _Value | int) -> _Value:
    """16 numbers as float32: float32 as they are, uint16 as bfloat16."""
    if dtype == types.float32:
        return _load(b, address, offset, _F32X, 4)
    return _widened(b, _load(b, address, offset, ir.VectorType(_I16, LANES), 2))


def _bytes_of(dtype: Any) -> int:
    return int(dtype.bitwidth) // 8


def _add_byte_products(b: _Builder, total: _Value, weights: _Value, four: _Value) -> _Value:
    """`total` (16) plus, in each lane, four unsigned weights times the four signed bytes `four`."""
    spread = b.bitcast(_splat(b, four), _BYTES)
    if has_byte_products():
        return _call(b, "llvm.x86.avx512.vpdpbusd.512", _I32X, (total, weights, spread))
    products = b.mul(b.zext(weights, _WORDS), b.sext(spread, _WORDS))  # at most 255 * 127: 16 bits
    for part in range(4):
        lanes = ir.Constant(_I32X, [4 * lane + part for lane in range(LANES)])
        chosen = b.shuffle_vector(products, ir.Constant(_WORDS, ir.Undefined), lanes)
        total = b.add(total, b.sext(chosen, _I32X))
    return total


def _loop(b: _Builder, count: _Value, body: Callable[[_Value], None]) -> None:
    with cgutils.for_range(b, count, intp=_I64) as loop:
        body(loop.index)


def _registers(b: _Builder, count: int) -> list[_Value]:
    """Vectors that live through a loop, zero at its beginning; LLVM keeps them in registers."""
    slots = [cgutils.alloca_once(b, _F32X) for _ in range(count)]
    for slot in slots:
        b.store(_constant(0.0), slot)
    return slots


def _scaled(b: _Builder, count: _Value, by: int) -> _Value:
    return b.mul(count, ir.Constant(_I64, by))


@intrinsic
def float_tile(
    typing: Any, tag: Any, weights: Any, w_at: Any, k: Any, x_at: Any, y_at: Any, stride: Any
) -> Any:
    """y (R, 16 of rows of `stride`) = x (R, k) times a tile (k, 16) of weights.

    R is the length of `tag`; weights are float32, or uint16 that hold bfloat16.
    """
    rows, dtype = tag.count, weights.dtype

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, _, w_at, k, x_at, y_at, stride = arguments
        sums = _registers(b, rows)

        def add(i: _Value) -> None:
            w = _load_floats(b, dtype, w_at, _scaled(b, i, LANES * _bytes_of(dtype)))
            for row, total in enumerate(sums):
                offset = b.add(_scaled(b, _scaled(b, k, row), 4), _scaled(b, i, 4))
                x = _splat(b, _load(b, x_at, offset, _F32, 4))
                b.store(_fma(b, w, x, b.load(total)), total)

        _loop(b, k, add)
        for row, total in enumerate(sums):
            _store(b, b.load(total), y_at, _scaled(b, stride, 4 * row))
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

    def levels(b: _Builder, w_at: _Value, group: _Value) -> list[_Value]:
        base = b.add(w_at, _scaled(b, group, group_bytes))
        loaded = [_load(b, base, at, _BYTES, 1) for at in range(0, group_bytes, 4 * LANES)]
        if not nibbles:
            return loaded
        low = ir.Constant(_BYTES, [15] * 4 * LANES)
        four = ir.Constant(_BYTES, [4] * 4 * LANES)
        return [b.and_(part, low) for part in loaded] + [b.lshr(part, four) for part in loaded]

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, _, w_at, scale_at, least_at, groups, x_at, x_scale_at, x_sum_at, y_at, stride = arguments
        sums = _registers(b, rows)

        def add(group: _Value) -> None:
            quads = levels(b, w_at, group)
            scale = _load_floats(b, types.uint16, scale_at, _scaled(b, group, 2 * LANES))
            least = None
            if nibbles:
                least = _load_floats(b, types.uint16, least_at, _scaled(b, group, 2 * LANES))
            for row, total in enumerate(sums):
                place = b.add(_scaled(b, groups, row), group)
                x_scale = _load(b, x_scale_at, _scaled(b, place, 4), _F32, 4)
                x_sum = _load(b, x_sum_at, _scaled(b, place, 4), _I32, 4)
                start = _i32(0) if nibbles else b.mul(x_sum, _i32(-_ZERO_POINT))
                products = _splat(b, start)
                x_base = b.add(x_at, _scaled(b, place, GROUP))
                for number, quad in enumerate(quads):
                    x = _load(b, x_base, 4 * number, _I32, 1)
                    products = _add_byte_products(b, products, quad, x)
                factor = b.fmul(scale, _splat(b, x_scale))
                value = _fma(b, b.sitofp(products, _F32X), factor, b.load(total))
                if least is not None:
                    whole = b.fmul(b.sitofp(x_sum, _F32), x_scale)
                    value = _fma(b, least, _splat(b, whole), value)
                b.store(value, total)

        _loop(b, groups, add)
        for row, total in enumerate(sums):
            _store(b, b.load(total), y_at, _scaled(b, stride, 4 * row))
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

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, _, _, q_at, clusters_at, s_at, stride = arguments
        sums = [_constant(0.0)] * heads
        for d in range(size):
            cluster = _load_floats(b, dtype, clusters_at, d * LANES * _bytes_of(dtype))
            for head in range(heads):
                q = _splat(b, _load(b, q_at, 4 * (head * size + d), _F32, 4))
                sums[head] = _fma(b, cluster, q, sums[head])
        for head, total in enumerate(sums):
            _store(b, total, s_at, _scaled(b, stride, 4 * head))
        return context.get_dummy_value()

    return types.void(tag, width, clusters, *[types.int64] * 4), code


def _folded(b: _Builder, first: _Value, second: _Value) -> _Value:
    """Sums of neighbours: 8 of the first vector's, then 8 of the second's."""
    halves = [
        b.shuffle_vector(first, second, ir.Constant(_I32X, list(range(start, 2 * LANES, 2))))
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
    tile_bytes = TILE * size * _bytes_of(dtype)

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, _, _, q_at, k_at, tiles_at, s_at, stride = arguments
        of_tiles = []
        for tile in range(LANES // TILE):
            number = b.sext(_load(b, tiles_at, 4 * tile, _I32, 4), _I64)
            tile_at = b.add(k_at, _scaled(b, number, tile_bytes))
            sums = [_constant(0.0)] * heads
            for part in range(size // TILE):
                k = _load_floats(b, dtype, tile_at, part * LANES * _bytes_of(dtype))
                for head in range(heads):
                    q = _load(b, q_at, 4 * (head * size * TILE + part * LANES), _F32X, 4)
                    sums[head] = _fma(b, k, q, sums[head])
            of_tiles.append(sums)
        for head in range(heads):
            one, two, three, four = (sums[head] for sums in of_tiles)
            whole = _folded(b, _folded(b, one, two), _folded(b, three, four))
            _store(b, whole, s_at, _scaled(b, stride, 4 * head))
        return context.get_dummy_value()

    return types.void(tag, width, keys, *[types.int64] * 5), code


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
    tile_bytes = TILE * size * _bytes_of(dtype)

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, _, _, p_at, stride, v_at, tiles_at, y_at = arguments
        tiles = [
            b.add(v_at, _scaled(b, b.sext(_load(b, tiles_at, 4 * tile, _I32, 4), _I64), tile_bytes))
            for tile in range(LANES // TILE)
        ]
        for start in range(0, size, chunk):
            columns = range(start, start + chunk, LANES)
            places = [(head, column) for head in range(heads) for column in columns]
            sums = {
                (head, column): _load(b, y_at, 4 * (head * size + column), _F32X, 4)
                for head, column in places
            }
            for key in range(LANES):
                at = (key % TILE) * size
                row = {
                    column: _load_floats(
                        b, dtype, tiles[key // TILE], (at + column) * _bytes_of(dtype)
                    )
                    for column in columns
                }
                for head in range(heads):
                    offset = b.add(_scaled(b, stride, 4 * head), ir.Constant(_I64, 4 * key))
                    p = _splat(b, _load(b, p_at, offset, _F32, 4))
                    for column in columns:
                        sums[head, column] = _fma(b, row[column], p, sums[head, column])
            for head, column in places:
                _store(b, sums[head, column], y_at, 4 * (head * size + column))
        return context.get_dummy_value()

    return types.void(tag, width, values, *[types.int64] * 5), code


_LOG2_E = 1.4426950408889634
_LN_2_HIGH, _LN_2_LOW = 0.693359375, -2.12194440e-4  # Cephes: ln 2 in two parts
# Cephes expf: exp(r) = 1 + r + r² (…), within 2e-7 for |r| <= ln 2 / 2
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_LEAST_EXPONENT = -87.0  # below, float32 underflows
_MOST_EXPONENT = 88.0


def _exp(b: _Builder, x: _Value) -> _Value:
    """exp of 16 float32; 0 instead of denormal numbers."""
    vanishes = b.fcmp_ordered("<", x, _constant(_LEAST_EXPONENT))
    x = _call(b, "llvm.maxnum.v16f32", _F32X, (x, _constant(_LEAST_EXPONENT)))
    x = _call(b, "llvm.minnum.v16f32", _F32X, (x, _constant(_MOST_EXPONENT)))
    power = _call(b, "llvm.rint.v16f32", _F32X, (b.fmul(x, _constant(_LOG2_E)),))
    rest = _fma(b, power, _constant(-_LN_2_HIGH), x)
    rest = _fma(b, power, _constant(-_LN_2_LOW), rest)
    value = _constant(_EXP[0])
    for coefficient in _EXP[1:]:
        value = _fma(b, value, rest, _constant(coefficient))
    value = _fma(b, value, b.fmul(rest, rest), b.fadd(rest, _constant(1.0)))
    exponent = b.add(b.fptosi(power, _I32X), ir.Constant(_I32X, [127] * LANES))
    scale = b.bitcast(b.shl(exponent, ir.Constant(_I32X, [23] * LANES)), _F32X)
    return b.select(vanishes, _constant(0.0), b.fmul(value, scale))


@intrinsic
def exp_tile(typing: Any, x_at: Any, shift: Any) -> Any:
    """16 numbers x become exp(x - shift)."""

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        x_at, shift = arguments
        _store(b, _exp(b, b.fsub(_load(b, x_at, 0, _F32X, 4), _splat(b, shift))), x_at, 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), code


@intrinsic
def quantise_group(typing: Any, x_at: Any, levels_at: Any, scale_at: Any, sum_at: Any) -> Any:
    """32 float32 x become int8 levels, with their scale (float32) and sum (int32)."""

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        x_at, levels_at, scale_at, sum_at = arguments
        halves = [_load(b, x_at, at, _F32X, 4) for at in (0, 4 * LANES)]
        sizes = [_call(b, "llvm.fabs.v16f32", _F32X, (half,)) for half in halves]
        both = _call(b, "llvm.maxnum.v16f32", _F32X, sizes)
        largest = _call(b, "llvm.vector.reduce.fmax.v16f32", _F32, (both,))
        scale = b.fmul(largest, ir.Constant(_F32, 1 / 127))
        empty = b.fcmp_ordered("==", scale, ir.Constant(_F32, 0.0))
        inverse = b.fdiv(ir.Constant(_F32, 1.0), scale)
        inverse = _splat(b, b.select(empty, ir.Constant(_F32, 0.0), inverse))
        total = ir.Constant(_I32X, [0] * LANES)
        for number, half in enumerate(halves):
            nearest = _call(b, "llvm.rint.v16f32", _F32X, (b.fmul(half, inverse),))
            levels = b.fptosi(nearest, _I32X)
            total = b.add(total, levels)
            narrow = b.trunc(levels, ir.VectorType(_I8, LANES))
            b.store(narrow, _at(b, levels_at, number * LANES, narrow.type), align=1)
        whole = _call(b, "llvm.vector.reduce.add.v16i32", _I32, (total,))
        _store(b, scale, scale_at, 0)
        _store(b, whole, sum_at, 0)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), code


@intrinsic
def gate_tile(typing: Any, gate_at: Any, up_at: Any, y_at: Any) -> Any:
    """y (16) = silu(gate) · up."""

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        gate_at, up_at, y_at = arguments
        gate = _load(b, gate_at, 0, _F32X, 4)
        silu = b.fdiv(gate, b.fadd(_exp(b, b.fneg(gate)), _constant(1.0)))
        _store(b, b.fmul(silu, _load(b, up_at, 0, _F32X, 4)), y_at, 0)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), code


@intrinsic
def store_float(typing: Any, array: Any, address: Any, value: Any) -> Any:
    """Writes a float32 at an address, in the type of `array`: float32, or uint16 as bfloat16."""
    dtype = array.dtype

    def code(context: Any, b: _Builder, signature: Any, arguments: Any) -> _Value:
        _, address, value = arguments
        if dtype == types.uint16:  # rounded to the nearest, ties to even
            bits = b.bitcast(value, _I32)
            odd = b.and_(b.lshr(bits, _i32(16)), _i32(1))
            rounded = b.add(b.add(bits, _i32(0x7FFF)), odd)
            value = b.trunc(b.lshr(rounded, _i32(16)), _I16)
        b.store(value, _at(b, address, 0, value.type))
        return context.get_dummy_value()

    return types.void(array, types.int64, types.float32), code
