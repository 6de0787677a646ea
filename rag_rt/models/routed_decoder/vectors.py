"""Instructions on vectors of 16 lanes, from which the tiles of `simd` are made.

LLVM maps them to what the processor has (AVX-512, AVX2, NEON). Addresses are int64; nothing is
bounds-checked. `b` is the builder of the code that a function adds to.
"""

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.core import config as untyped_config

cgutils: Any = untyped_cgutils
config: Any = untyped_config

LANES = 16
TILE = 4  # keys that lie together; scores of four tiles fill the lanes
GROUP = 32  # weights that share a scale, as in GGUF's Q4_1

F32, I8, I16, I32, I64 = (
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
F32X = ir.VectorType(F32, LANES)
I32X = ir.VectorType(I32, LANES)
BYTES = ir.VectorType(I8, 4 * LANES)
WORDS = ir.VectorType(I16, 4 * LANES)

Builder = Any  # llvmlite ships no types
Value = Any


def _features() -> str:
    return str(config.CPU_FEATURES or llvm.get_host_cpu_features().flatten())


def has_byte_products() -> bool:
    """Whether the processor multiplies unsigned by signed bytes and adds (AVX512-VNNI)."""
    return config.CPU_NAME != "generic" and "+avx512vnni" in _features()


def int32(value: int) -> Value:
    """A constant."""
    return ir.Constant(I32, value)


def pointer(b: Builder, address: Value, offset: Value | int, kind: Value) -> Value:
    """A pointer to `kind` at `address` plus an offset in bytes."""
    if isinstance(offset, int):
        offset = ir.Constant(I64, offset)
    return b.inttoptr(b.add(address, offset), kind.as_pointer())


def load(b: Builder, address: Value, offset: Value | int, kind: Value, align: int) -> Value:
    """What stands at `address` plus an offset in bytes."""
    value = b.load(pointer(b, address, offset, kind), typ=kind)
    value.align = align
    return value


def store(b: Builder, value: Value, address: Value, offset: Value | int) -> None:
    """Writes numbers of four bytes at `address` plus an offset in bytes."""
    b.store(value, pointer(b, address, offset, value.type), align=4)


def splat(b: Builder, value: Value) -> Value:
    """A number in every lane."""
    kind = ir.VectorType(value.type, LANES)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, int32(0))
    zeros = ir.Constant(I32X, [0] * LANES)
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def constant(value: float) -> Value:
    """A constant in every lane, float32."""
    return ir.Constant(F32X, [value] * LANES)


def call(b: Builder, name: str, result: Value, arguments: Sequence[Value]) -> Value:
    """A function of LLVM."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), list(arguments))


def fma(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x · y + z."""
    return call(b, "llvm.fmuladd.v16f32", F32X, (x, y, z))


def widened(b: Builder, words: Value) -> Value:
    """16 bfloat16 as float32."""
    bits = b.shl(b.zext(words, I32X), ir.Constant(I32X, [16] * LANES))
    return b.bitcast(bits, F32X)


def load_floats(b: Builder, dtype: Any, address: Value, offset: Value | int) -> Value:
    """16 numbers as float32: float32 as they are, uint16 as bfloat16."""
    if dtype == types.float32:
        return load(b, address, offset, F32X, 4)
    return widened(b, load(b, address, offset, ir.VectorType(I16, LANES), 2))


def bytes_of(dtype: Any) -> int:
    """Of a number of one of numba's types."""
    return int(dtype.bitwidth) // 8


def rounded_bits(b: Builder, value: Value) -> Value:
    """The bits of float32, one or 16, as bfloat16: rounded to the nearest, ties to even."""
    wide, narrow, many = I32, I16, value.type == F32X
    if many:
        wide, narrow = I32X, ir.VectorType(I16, LANES)

    def number(bits: int) -> Value:
        return ir.Constant(wide, [bits] * LANES if many else bits)

    bits = b.bitcast(value, wide)
    odd = b.and_(b.lshr(bits, number(16)), number(1))
    rounded = b.add(b.add(bits, number(0x7FFF)), odd)
    return b.trunc(b.lshr(rounded, number(16)), narrow)


def store_floats(b: Builder, dtype: Any, value: Value, address: Value) -> None:
    """16 float32 in a type: float32, or uint16 as bfloat16."""
    if dtype == types.uint16:
        value = rounded_bits(b, value)
    b.store(value, pointer(b, address, 0, value.type), align=bytes_of(dtype))


def add_byte_products(b: Builder, total: Value, weights: Value, four: Value) -> Value:
    """`total` (16) plus, in each lane, four unsigned weights times the four signed bytes `four`."""
    spread = b.bitcast(splat(b, four), BYTES)
    if has_byte_products():
        return call(b, "llvm.x86.avx512.vpdpbusd.512", I32X, (total, weights, spread))
    products = b.mul(b.zext(weights, WORDS), b.sext(spread, WORDS))  # at most 255 * 127: 16 bits
    for part in range(4):
        lanes = ir.Constant(I32X, [4 * lane + part for lane in range(LANES)])
        chosen = b.shuffle_vector(products, ir.Constant(WORDS, ir.Undefined), lanes)
        total = b.add(total, b.sext(chosen, I32X))
    return total


def loop(b: Builder, count: Value, body: Callable[[Value], None]) -> None:
    """The code of `body` for 0 to `count` - 1."""
    with cgutils.for_range(b, count, intp=I64) as loop:
        body(loop.index)


def registers(b: Builder, count: int) -> list[Value]:
    """Vectors that live through a loop, zero at its beginning; LLVM keeps them in registers."""
    slots = [cgutils.alloca_once(b, F32X) for _ in range(count)]
    for slot in slots:
        b.store(constant(0.0), slot)
    return slots


def scaled(b: Builder, count: Value, by: int) -> Value:
    """A number of things of so many bytes, in bytes."""
    return b.mul(count, ir.Constant(I64, by))


_LOG2_E = 1.4426950408889634
_LN_2_HIGH, _LN_2_LOW = 0.693359375, -2.12194440e-4  # Cephes: ln 2 in two parts
# Cephes expf: exp(r) = 1 + r + r² (…), within 2e-7 for |r| <= ln 2 / 2
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_LEAST_EXPONENT = -87.0  # below, float32 underflows
_MOST_EXPONENT = 88.0


def exp(b: Builder, x: Value) -> Value:
    """exp of 16 float32; 0 instead of denormal numbers."""
    vanishes = b.fcmp_ordered("<", x, constant(_LEAST_EXPONENT))
    x = call(b, "llvm.maxnum.v16f32", F32X, (x, constant(_LEAST_EXPONENT)))
    x = call(b, "llvm.minnum.v16f32", F32X, (x, constant(_MOST_EXPONENT)))
    power = call(b, "llvm.rint.v16f32", F32X, (b.fmul(x, constant(_LOG2_E)),))
    rest = fma(b, power, constant(-_LN_2_HIGH), x)
    rest = fma(b, power, constant(-_LN_2_LOW), rest)
    value = constant(_EXP[0])
    for coefficient in _EXP[1:]:
        value = fma(b, value, rest, constant(coefficient))
    value = fma(b, value, b.fmul(rest, rest), b.fadd(rest, constant(1.0)))
    exponent = b.add(b.fptosi(power, I32X), ir.Constant(I32X, [127] * LANES))
    scale = b.bitcast(b.shl(exponent, ir.Constant(I32X, [23] * LANES)), F32X)
    return b.select(vanishes, constant(0.0), b.fmul(value, scale))
