"""From which length on routed attention pays, and whether the choice that is made is the faster.

Tokens a second to read texts of 128 to 16,384 random tokens, and milliseconds to write one more:
all dense, all routed, and as the generator does it (`RoutedDecoder.of`), in the slices that it
reads, beside transformers, which reads a text at once. Then what clustering a prompt costs, and
after how many tokens written that is made good. The starter model's own context ends at 8,192; its
angles are computed on for the lengths beyond.

Run: python -m benchmarks.routing_crossover [LENGTH…]
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.decoder_speed import WRITTEN, Measured, each, with_transformers
from benchmarks.machine import machine
from rag_rt.attention.routed_keys import Routing
from rag_rt.batching import SLICE
from rag_rt.models.routed_decoder import DecoderConfig, RoutedDecoder
from rag_rt.models.routed_decoder.decoder import CROSSOVER
from rag_rt.models.routed_decoder.rows import CachedRow
from rag_rt.models.starter import starter_generator
from rag_rt.settings import load_settings

LENGTHS = (128, 512, 1024, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384)
ROOM = 64
SHORT = 4096  # texts up to here are read three times, of which the median counts


def main(lengths: list[int]) -> None:
    folder = str(starter_generator(load_settings().models_directory))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.config.max_position_embeddings = max(lengths) + ROOM
    config = DecoderConfig.of(model.config)
    chosen = RoutedDecoder.of(model, "int4")
    assert config is not None
    assert chosen is not None
    decoders = {
        "dense": RoutedDecoder(model, config, "int4"),
        "routed": RoutedDecoder(model, config, "int4", Routing()),
        "chosen": chosen,
    }
    decoders["routed"].warm_up()
    print(f"{machine()}; int4, slices of {SLICE}; tokens a second read | milliseconds a token\n")
    names = ["transformers, bfloat16", *decoders]
    print(f"| tokens | {' | '.join(f'{name}: read | write' for name in names)} |")
    print(f"|---|{'---|---|' * len(names)}")
    saved: dict[int, float] = {}  # seconds a token that is written routed
    for length in lengths:
        ids = torch.randint(100, 49_000, (length,)).tolist()
        found = [measured(lambda ids=ids: with_transformers(model, ids), length)]  # type: ignore[misc]
        for decoder in decoders.values():
            found.append(measured(lambda d=decoder, ids=ids: in_slices(d, ids), length))  # type: ignore[misc]
        cells = (f"{length / reading:,.0f} | {1000 * writing:.1f}" for reading, writing in found)
        print(f"| {length:,} | {' | '.join(cells)} |", flush=True)
        saved[length] = found[1][1] - found[2][1]
    block, seconds = Routing().block, clustering(config)
    print(f"\nA block of {block} tokens is clustered in {1000 * seconds:.1f} ms, made good after")
    for length, gain in saved.items():
        if length >= CROSSOVER and gain > 0:
            tokens = length // block * seconds / gain
            print(f"- {length:,}: {tokens:.0f} tokens written")


def clustering(config: DecoderConfig) -> float:
    """Median seconds in which a block of random keys is clustered, in all layers."""
    routing = Routing()
    row = CachedRow(config, routing.sinks + WRITTEN * routing.block, torch.bfloat16, routing)
    row.keys.normal_()
    row.advance(routing.sinks)
    return each(lambda: row.advance(routing.block))


def measured(measure: Callable[[], Measured], length: int) -> Measured:
    """Seconds to read a text, and to write a token."""
    readings, writings = zip(*(measure() for _ in range(3 if length <= SHORT else 1)), strict=True)
    return median(readings), median(writings)


def in_slices(decoder: RoutedDecoder, ids: list[int]) -> Measured:
    row = decoder.open_row(len(ids) + ROOM)
    begun = time.perf_counter()
    for first in range(0, len(ids), SLICE):
        decoder.read(row, ids[first : first + SLICE])
    reading = time.perf_counter() - begun
    return reading, each(lambda: decoder.step([(row, [500])]))


if __name__ == "__main__":
    main([int(length) for length in sys.argv[1:]] or list(LENGTHS))
