"""Forward and backward of the Routing Transformer against the package `routing-transformer` 1.6.1.

Both are 512 wide, with 8 heads (4 local, 4 routing), 6 layers, windows of 256 positions and
feed-forward layers of 2,048. Ours computes relative positions in keys and values as the published
model does, which the package does not (it rotates queries and keys of local heads); the row "ours,
without" leaves them out, and so computes what the package computes.

Each figure is a process of its own. Memory is the peak above what the process held before the call.

    pip install routing-transformer==1.6.1
    python -m benchmarks.rt_package [LENGTH …]
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.machine import machine
from benchmarks.measuring import (
    forget_peak,
    in_child,
    median_seconds,
    peak_mib,
    resident_mib,
)
from rag_rt.models.routing_transformer import (
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
)

LENGTHS = (2048, 8192, 32768)
RUNS = {2048: 7, 8192: 3}  # of longer texts one, after one that does not count
WORDS, WIDTH, LAYERS, HEADS, WINDOW = 256, 512, 6, 8, 256
PROGRAMS = {"package": "the package", "with": "ours", "without": "ours, without"}


def ours(length: int, *, relative: bool) -> tuple[torch.nn.Module, Callable[[Any], Any]]:
    config = RoutingTransformerConfig(
        vocab_size=WORDS, embedding_dims=WIDTH, hidden_size=WIDTH, filter_size=4 * WIDTH,
        num_decoder_layers=LAYERS, max_target_length=length, query_shape=WINDOW,
        memory_flange=WINDOW, memory_query_shape=WINDOW, local_num_heads=HEADS // 2,
        sparsity_cluster_num_heads=HEADS // 2, sparsity_cluster_size=length // WINDOW,
        sparsity_cluster_attention_window=WINDOW, sparsity_skip_first=0,
        local_relative=relative, sparsity_cluster_relative=relative,
    )  # fmt: skip
    model = RoutingTransformerForCausalLM(config)
    return model, model.teacher_forced_loss


def package(length: int) -> tuple[torch.nn.Module, Callable[[Any], Any]]:
    model: Any = import_module("routing_transformer").RoutingTransformerLM(
        num_tokens=WORDS, dim=WIDTH, depth=LAYERS, max_seq_len=length, heads=HEADS,
        n_local_attn_heads=HEADS // 2, window_size=WINDOW, local_attn_window_size=WINDOW,
        causal=True,
    )  # fmt: skip

    def loss(ids: torch.Tensor) -> torch.Tensor:
        logits, auxiliary = model(ids)
        total: torch.Tensor = cross_entropy(logits.mT, ids) + auxiliary
        return total

    return model, loss


def measure(program: str, length: int, training: bool) -> dict[str, float]:
    torch.manual_seed(0)
    model, loss = (
        package(length) if program == "package" else ours(length, relative=program == "with")
    )
    model.train(training)
    ids = torch.randint(1, WORDS, (1, length))

    def run() -> None:
        with torch.set_grad_enabled(training):
            value = loss(ids)
            if training:
                value.backward()

    forget_peak()
    before = resident_mib()
    run()
    seconds = median_seconds(run, RUNS.get(length, 1))
    return {"seconds": seconds, "mib": peak_mib() - before}


def main(lengths: list[int]) -> None:
    print(machine())
    for training in (False, True):
        print(f"\n{'forward and backward' if training else 'forward'}")
        print(f"{'tokens':>8}  {'program':14} {'seconds':>8} {'times faster':>13} {'MiB':>8}")
        for length in lengths:
            found = {
                program: in_child(__spec__.name, program, length, int(training))
                for program in PROGRAMS
            }
            for program, figures in found.items():
                ratio = found["package"]["seconds"] / figures["seconds"]
                print(
                    f"{length:8,}  {PROGRAMS[program]:14} {figures['seconds']:8.2f} "
                    f"{ratio:13.2f} {figures['mib']:8,.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")))
    else:
        main([int(length) for length in sys.argv[1:]] or list(LENGTHS))
