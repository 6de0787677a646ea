"""Passages a second into vectors: ours beside sentence-transformers, with the same weights.

Run: python -m benchmarks.encoding (with sentence-transformers installed, for its rows)
On one core, on two, and on a GPU where there is one.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from benchmarks.machine import machine
from benchmarks.measuring import in_child, resident_mib
from retriever.encoders import Encoder, Vectors, folder_of
from retriever.loading import Device, Precision
from retriever.sources import Skipped, open_source
from retriever.splitting import split_page

PASSAGES = 1024
ROUNDS = 5
BASELINE = "sentence-transformers, float32"
ABSENT = "sentence-transformers is not installed, so its rows are left out: pip install it"
Encode = Callable[[Sequence[str]], Vectors]


def main() -> None:
    print(f"{PASSAGES:,} passages, median of {ROUNDS} rounds in turn; {machine()}")
    for place in ("1 core", "2 cores", *(["cuda"] if torch.cuda.is_available() else [])):
        found = in_child("benchmarks.encoding", place)
        first = next(iter(found["rates"]))
        print(f"\n{place}, {found['tokens']:.0f} tokens a passage\n")
        print(f"| encoder | passages a second | against {first} | least cosine to it |")
        print("|---|---|---|---|")
        for name, rates in found["rates"].items():
            rate, base = median(rates), median(found["rates"][first])
            print(f"| {name} | {rate:.0f} | {rate / base:.2f} | {found['cosines'][name]:.5f} |")
        print(f"\nResident at the end: {found['resident']:.0f} MiB")
    if not has_sentence_transformers():
        print(f"\n{ABSENT}")


def measure(place: str) -> dict[str, Any]:
    """Rates and least cosines of every encoder, on some cores or a GPU."""
    device: Device = "cuda" if place == "cuda" else "cpu"
    if device == "cpu":
        cores = int(place.split()[0])
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
        torch.set_num_threads(cores)
    texts = passages()
    encoders = contestants(device)
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    vectors: dict[str, Vectors] = {}
    for number in range(ROUNDS + 1):
        for name, encode in encoders.items():
            begun = time.perf_counter()
            vectors[name] = encode(texts)
            if number:  # the first round makes kernels
                rates[name].append(len(texts) / (time.perf_counter() - begun))
    reference = next(iter(vectors.values()))
    tokenizer = AutoTokenizer.from_pretrained(folder_of("starter"))
    return {
        "rates": rates,
        "cosines": {name: float((v * reference).sum(1).min()) for name, v in vectors.items()},
        "tokens": float(np.mean([len(ids) for ids in tokenizer(texts)["input_ids"]])),
        "resident": resident_mib(),
    }


def passages() -> list[str]:
    pages = open_source("starter").pages(Skipped(0, print))
    found = islice((p for page in pages for p in split_page(page)), PASSAGES)
    return [f"{passage.title}\n{passage.text}" for passage in found]


def contestants(device: Device) -> dict[str, Encode]:
    """What is compared; the first is the baseline."""
    encoders: dict[str, Encode] = {}
    if has_sentence_transformers():
        encoders[BASELINE] = sentence_transformers(torch.float32, device)
        encoders["sentence-transformers, bfloat16"] = sentence_transformers(torch.bfloat16, device)
    precisions: list[Precision] = ["float32", "bfloat16"]
    if device == "cpu":
        precisions.append("int8")
    for precision in precisions:
        encoders[f"ours, {precision}"] = Encoder(
            "starter", precision=precision, device=device
        ).encode
    return encoders


def has_sentence_transformers() -> bool:
    return importlib.util.find_spec("sentence_transformers") is not None


def sentence_transformers(dtype: torch.dtype, device: Device) -> Encode:
    """Its own way, with its own batch size."""
    module: Any = importlib.import_module("sentence_transformers")
    model = module.SentenceTransformer(
        folder_of("starter"), device=device, model_kwargs={"dtype": dtype}
    )

    def encode(texts: Sequence[str]) -> Vectors:
        vectors: Vectors = model.encode(list(texts), convert_to_tensor=True).float().cpu().numpy()
        return vectors

    return encode


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
