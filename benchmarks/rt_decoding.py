"""Seconds for each token of the published Routing Transformer, against the official way.

The official program computes the whole padded sequence anew for each token: the baseline is one
such forward pass, in float32. `exact` decoding gives its logits, `incremental` decoding those of
causal routing, in three precisions of the weights. How far logits are from those of `exact` (or, of
precisions, from float32's) is the root mean square over all positions timed.

    python -m benchmarks.rt_decoding
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.measuring import forget_peak, median_seconds, peak_mib
from benchmarks.rt_published import published_model
from rag_rt.models.precision import set_precision
from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.exact import ExactCache

LENGTHS = {2816: 2304, 8192: 8000}  # of the padded sequence, and of the prompt
FULL_RUNS = {2816: 3, 8192: 1}
TOKENS = {"exact": 6, "incremental": 24}  # timed after a prompt


@dataclass(frozen=True)
class Decoded:
    """How a prompt was continued."""

    first: float  # seconds to the first token
    each: float  # median seconds of the tokens after it
    mib: float  # peak memory of the process, the model included
    logits: Tensor  # (tokens, V)


def full_pass(model: RoutingTransformerForCausalLM, length: int) -> tuple[float, float]:
    """Seconds and peak memory of a forward pass with all logits."""
    ids = random_ids(length)
    forget_peak()
    with torch.inference_mode():
        seconds = median_seconds(lambda: model.teacher_forced_logits(ids), FULL_RUNS[length])
    return seconds, peak_mib()


def decode(model: RoutingTransformerForCausalLM, length: int, decoding: str) -> Decoded:
    """Read a prompt and then tokens of a text, whatever the model would have written."""
    ids, prompt = random_ids(length), LENGTHS[length]
    model.config.decoding, model.config.max_target_length = decoding, length
    exact = decoding == "exact"
    cache: Any = ExactCache(model.config) if exact else None
    seconds, logits = [], []
    forget_peak()
    for stop in range(prompt, prompt + TOKENS[decoding] + 1):
        read = ids[:, :stop] if exact or stop == prompt else ids[:, stop - 1 : stop]
        begin = time.perf_counter()
        with torch.inference_mode():
            found = model(read, past_key_values=cache, use_cache=True, logits_to_keep=1)
        seconds.append(time.perf_counter() - begin)
        cache = found.past_key_values
        logits.append(found.logits[0, -1])
    return Decoded(seconds[0], median(seconds[1:]), peak_mib(), torch.stack(logits))


def random_ids(length: int) -> Tensor:
    return torch.randint(2, 98302, (1, length), generator=torch.Generator().manual_seed(length))


@contextmanager
def row(name: str) -> Iterator[list[str]]:
    cells: list[str] = []
    yield cells
    print(f"{name:32}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


def print_decoded(name: str, found: Decoded, full: float, reference: Decoded) -> None:
    with row(name) as cells:
        tokens = min(len(found.logits), len(reference.logits))
        difference = found.logits[:tokens] - reference.logits[:tokens]
        cells += [f"{found.each:.4f}", f"{full / found.each:.0f} x", f"{found.first:.2f}"]
        cells += [f"{found.mib:,.0f}", f"{difference.pow(2).mean().sqrt():.4f}"]


def main() -> None:
    print(machine())
    model = published_model()
    full, reference = {}, {}
    heads = ["s a token", "faster", "s to first", "peak MiB", "logits differ"]
    for length in LENGTHS:
        print(f"\n{length:,} positions, after a prompt of {LENGTHS[length]:,}")
        with row("") as cells:
            cells += heads
        full[length], memory = full_pass(model, length)
        with row("one full forward pass, float32") as cells:
            cells += [f"{full[length]:.3f}", "1 x", f"{full[length]:.2f}", f"{memory:,.0f}"]
        exact = decode(model, length, "exact")
        print_decoded("exact, float32", exact, full[length], exact)
        reference[length] = decode(model, length, "incremental")
        print_decoded("incremental, float32", reference[length], full[length], exact)
    print(f"\nspread of logits: {reference[8192].logits.std():.3f}")
    for precision in ("bfloat16", "int8"):
        set_precision(model, precision)
        print(f"\nincremental, {precision}: logits against float32's")
        with row("") as cells:
            cells += heads
        for length in LENGTHS:
            found = decode(model, length, "incremental")
            print_decoded(f"{length:,} positions", found, full[length], reference[length])


if __name__ == "__main__":
    main()
