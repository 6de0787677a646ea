"""Passages a second into vectors: ours beside a plain float32 loop over the same weights.

Run: python -m benchmarks.encoding
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks.machine import machine
from retriever import starter_pack
from retriever.encoders import BATCH, MAX_TOKENS, Encoder, Vectors
from retriever.sources import open_source

PASSAGES = 512
ROUNDS = 3


def main() -> None:
    pages = open_source("starter").pages()
    texts = [f"{page.title}\n{page.text}" for page, _ in zip(pages, range(PASSAGES), strict=False)]
    encoder = Encoder("starter")
    plain = plain_encoder()
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(ROUNDS):
        reference, seconds = timed(plain, texts)
        rates["plain"].append(PASSAGES / seconds)
        vectors, seconds = timed(encoder.encode, texts)
        rates["ours"].append(PASSAGES / seconds)
    cosines = (vectors * reference).sum(axis=1)
    base, ours = (statistics.median(rates[name]) for name in ("plain", "ours"))
    print(f"{PASSAGES} passages, median of {ROUNDS}; {machine()}\n")
    print("| encoder | passages a second | ratio |\n|---|---|---|")
    print(f"| plain loop, float32, batches of {BATCH} as they come | {base:.0f} | 1.0 |")
    print(f"| ours, sorted by length, bfloat16 where native | {ours:.0f} | {ours / base:.1f} |")
    print(f"\nSmallest cosine between the two: {cosines.min():.4f}")


def timed(
    encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str]
) -> tuple[Vectors, float]:
    begun = time.perf_counter()
    return encode(texts), time.perf_counter() - begun


def plain_encoder() -> Callable[[Sequence[str]], Vectors]:
    folder = starter_pack.locate(starter_pack.ENCODER).parent
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Vectors:
        batches = []
        for first in range(0, len(texts), BATCH):
            inputs = tokenizer(
                list(texts[first : first + BATCH]),
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            hidden = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            means = (hidden * mask).sum(1) / mask.sum(1)
            batches.append(torch.nn.functional.normalize(means, dim=-1).numpy())
        return np.concatenate(batches)

    return encode


if __name__ == "__main__":
    main()
