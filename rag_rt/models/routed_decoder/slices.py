"""What happens to a slice's tokens between its matrix products, each in one pass over memory.

Arrays hold float32, or bfloat16 as uint16. Glossary: T tokens, H hidden size, I width of the
feed-forward layer, KV key-value heads, D head size, S keys that a row has room for.
"""

import math

import numba
import numpy as np

from rag_rt.models.routed_decoder.compiling import compiled
from rag_rt.models.routed_decoder.layout import Array, Floats
from rag_rt.models.routed_decoder.simd import gate_tile, narrowed, widened
from rag_rt.models.routed_decoder.vectors import LANES, TILE


@compiled(parallel=True, fast=True)
def add_and_normalise(
    x: Floats, added: Array, weight: Floats, epsilon: float, out: Array, threads: int
) -> None:
    """x (T, H) grows by `added`, (T, H) or of no rows, and its RMSNorm goes to `out` (≥ T, H)."""
    rows, size = x.shape
    for thread in numba.prange(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            if len(added):
                for i in range(size):
                    x[row, i] += widened(added[row, i])
            squares = np.float32(0)
            for i in range(size):
                squares += x[row, i] * x[row, i]
            mean = squares / np.float32(size)
            scale = np.float32(1.0) / np.float32(math.sqrt(mean + np.float32(epsilon)))
            for i in range(size):
                out[row, i] = narrowed(out, x[row, i] * scale * weight[i])


@compiled(parallel=True, fast=True)
def turn_and_remember(
    qkv: Array,
    rows: int,
    cosines: Floats,
    sines: Floats,
    keys: Array,
    values: Array,
    start: int,
    threads: int,
) -> None:
    """Turns queries and keys by their positions, and writes keys and values to a row's.

    Args:
        qkv: (≥ T, heads + 2 · KV, D); queries and keys get their rotary embedding (Su et al. 2021)
            in place, the halves of a head paired.
        rows: T.
        cosines, sines: of all positions, (positions, D/2).
        keys: of a layer, (KV, S/4, D/4, 4 keys, 4 of D).
        values: of a layer, (KV, S, D).
        start: position of the first token.
        threads: to run on.
    """
    kv_heads, size = len(values), qkv.shape[2]
    half, heads = size // 2, qkv.shape[1] - 2 * len(values)
    for thread in numba.prange(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            position = start + row
            for head in range(heads + kv_heads):
                for i in range(half):
                    a, b = widened(qkv[row, head, i]), widened(qkv[row, head, half + i])
                    cosine, sine = cosines[position, i], sines[position, i]
                    qkv[row, head, i] = narrowed(qkv, a * cosine - b * sine)
                    qkv[row, head, half + i] = narrowed(qkv, b * cosine + a * sine)
            tile, place = position // TILE, position % TILE
            for head in range(kv_heads):
                for part in range(size // TILE):
                    for i in range(TILE):
                        key = qkv[row, heads + head, part * TILE + i]
                        keys[head, tile, part, place, i] = key
                for i in range(size):
                    values[head, position, i] = qkv[row, heads + kv_heads + head, i]


@compiled(parallel=True)
def gate(gate_up: Array, rows: int, out: Array, threads: int) -> None:
    """silu(gate) · up of the first `rows` of (≥ T, 2 · I) go to `out` (≥ T, I)."""
    size = out.shape[1]
    for thread in numba.prange(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            gate_at = gate_up.ctypes.data + row * 2 * size * gate_up.itemsize
            up_at = gate_at + size * gate_up.itemsize
            out_at = out.ctypes.data + row * size * out.itemsize
            for i in range(0, size, LANES):
                offset = i * out.itemsize
                gate_tile(out, gate_at + offset, up_at + offset, out_at + offset)
