"""How routing attention grows with the text, and from where on it is faster than dense attention.

1. The attention of one layer, 8 heads of 64: dense (`scaled_dot_product_attention`) against 4 local
   heads (blocks and flange of 256) and 4 routing heads, with relative positions as published.
   Scoring, choosing windows and putting positions back count. Windows are 256 long, in as many
   clusters as cover the text once, or √n in √n clusters, which is the paper's choice for n^1.5.
2. The published model (22 layers, 1,032 wide) with √n clusters of √n positions: hidden states of
   all positions and logits of the last, up to 65,536 tokens.

Exponents are slopes of least squares between logarithms.

    python -m benchmarks.rt_scaling [--no-model]
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import machine
from benchmarks.measuring import forget_peak, median_seconds, peak_mib
from benchmarks.rt_published import published_model
from rag_rt.attention.centroids import cluster_scores, on_sphere
from rag_rt.attention.local import local_attention
from rag_rt.attention.relative import RelativeTables
from rag_rt.attention.routing import routed_attention, top_windows
from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.heads import RoutingHeads

HEADS, DEPTH, WINDOW = 8, 64, 256
ATTENTION_LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
DENSE_UP_TO = 32768
MODEL_LENGTHS = (2048, 8192, 32768, 65536)
FITTED_FROM = 2048


def dense(length: int) -> Callable[[], Tensor]:
    q, k, v = (torch.randn(1, HEADS, length, DEPTH) for _ in range(3))
    return lambda: scaled_dot_product_attention(q, k, v, is_causal=True)


def routed(length: int, window: int, heads: int) -> Callable[[], Tensor]:
    q, v = (torch.randn(1, heads, length, DEPTH) for _ in range(2))
    means = on_sphere(torch.randn(heads, length // window, DEPTH))
    relative = tables()

    def run() -> Tensor:
        x = on_sphere(q)
        windows = top_windows(cluster_scores(x, means), window)
        return routed_attention(x, x, v, windows, windows, causal=True, relative=relative)

    return run


def local(length: int, heads: int) -> Callable[[], Tensor]:
    q, k, v = (torch.randn(1, heads, length, DEPTH) for _ in range(3))
    relative = tables()
    return lambda: local_attention(
        q,
        k,
        v,
        query_block=WINDOW,
        memory_block=WINDOW,
        flange=WINDOW,
        causal=True,
        relative=relative,
    )


def tables() -> RelativeTables:
    return RelativeTables(torch.randn(1027, DEPTH), torch.randn(1027, DEPTH))


def compare_attention() -> None:
    print("\nattention of one layer, seconds")
    names = ("dense", "local + windows of 256", "local + √n windows", "√n windows alone")
    print(f"{'tokens':>8}" + "".join(f"{name:>24}" for name in names))
    found: dict[str, list[float]] = {name: [] for name in names}
    half = HEADS // 2
    for length in ATTENTION_LENGTHS:
        near = timed(local(length, half))
        root = timed(routed(length, isqrt(length), half))
        found["dense"].append(timed(dense(length)) if length <= DENSE_UP_TO else np.nan)
        found["local + windows of 256"].append(near + timed(routed(length, WINDOW, half)))
        found["local + √n windows"].append(near + root)
        found["√n windows alone"].append(root)
        cells = "".join(cell(found[name][-1]) for name in names)
        print(f"{length:8,}{cells}", flush=True)
    exponents = "".join(f"{exponent(ATTENTION_LENGTHS, found[name]):24.2f}" for name in names)
    print(f"{'n^':>8}{exponents}   (from {FITTED_FROM:,} tokens)")
    for name in names[1:3]:
        pairs = zip(ATTENTION_LENGTHS, found[name], found["dense"], strict=True)
        slower = [length for length, mine, theirs in pairs if mine >= theirs]
        after = f"after {max(slower):,} tokens" if slower else f"from {ATTENTION_LENGTHS[0]:,} on"
        print(f"{name}: faster than dense {after}")


@torch.inference_mode()
def scale_model() -> None:
    print("\nthe published model, √n clusters of √n positions")
    print(f"{'tokens':>8}{'seconds':>12}{'peak MiB':>12}")
    model = published_model()
    seconds = []
    for length in MODEL_LENGTHS:
        root = isqrt(length)
        model.config.max_target_length = length
        model.config.sparsity_cluster_attention_window = root
        for module in model.modules():
            if isinstance(module, RoutingHeads):
                module.window = root
                module.means = on_sphere(torch.randn(module.heads, root, module.means.shape[-1]))
        ids = torch.randint(2, model.config.vocab_size, (1, length))
        forget_peak()
        seconds.append(median_seconds(partial(last_logits, model, ids), 1))
        print(f"{length:8,}{seconds[-1]:12.2f}{peak_mib():12,.0f}", flush=True)
    print(f"{'n^':>8}{exponent(MODEL_LENGTHS, seconds):12.2f}")


def last_logits(model: RoutingTransformerForCausalLM, ids: Tensor) -> Tensor:
    states = model.teacher_forced(ids).states
    return model.logits(states[:, -1])


def timed(action: Callable[[], Tensor]) -> float:
    with torch.inference_mode():
        action()
        return median_seconds(action, 3)


def cell(seconds: float) -> str:
    return f"{'not run':>24}" if np.isnan(seconds) else f"{seconds:24.4f}"


def exponent(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log length."""
    known = [
        (length, second)
        for length, second in zip(lengths, seconds, strict=True)
        if length >= FITTED_FROM and not np.isnan(second)
    ]
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0])


if __name__ == "__main__":
    print(machine())
    compare_attention()
    if "--no-model" not in sys.argv[1:]:
        scale_model()
