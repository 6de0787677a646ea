"""Tokens a second of the pretrained generator: ours, transformers and llama.cpp, in one run.

Reads and writes at some lengths, then grounded answers with drafts beside llama.cpp's from the same
prompts. llama.cpp is left out where its Python package (llama-cpp-python) is not installed.
Run: python -m benchmarks.decoder_speed nq-long/dev.jsonl [ANSWERS]
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from benchmarks.drafting import GREEDY, prompts
from benchmarks.machine import machine
from benchmarks.measuring import in_child
from rag_rt.answerer import Answerer
from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_decoder import DecoderConfig, Precision, RoutedDecoder
from rag_rt.models.starter import starter_generator
from rag_rt.prompting import RewriteForm
from rag_rt.settings import load_settings
from retriever import starter_pack

LENGTHS = (512, 2048, 8000)
WRITTEN = 15  # tokens, of which the median counts
Measured = tuple[float, float]  # seconds to read all tokens, seconds to write one more


def main(path: Path, answers: int) -> None:
    settings = load_settings()
    folder = str(starter_generator(settings.models_directory))
    texts = [torch.randint(100, 49_000, (length,)).tolist() for length in LENGTHS]
    print(f"{machine()}; random tokens; the median of {WRITTEN} tokens written\n")
    titles = [f"read {n:,}: tokens/s | write after it: ms" for n in LENGTHS]
    print(f"| | {' | '.join(titles)} |\n|---|{'---|---|' * len(LENGTHS)}")
    for name, measure in competitors(folder):
        print_row(name, [measure(ids) for ids in texts])
    ours = grounded_answers(path, answers)
    theirs = in_llama_cpp(texts, ours)
    if theirs:
        print_row("llama.cpp, Q4_1", theirs["texts"])
    else:
        print("\nllama.cpp is left out: pip install llama-cpp-python (it compiles some minutes)")
    read, written = sum(len(answer.prompt) for answer in ours), sum(a.tokens for a in ours)
    print(f"\n{len(ours)} grounded answers, {read:,} tokens read and {written:,} written, greedy:")
    seconds = sum(answer.seconds for answer in ours)
    print(f"- ours, drafted, by the rules of the prompt: {written / seconds:.0f} tokens a second")
    if theirs:
        rate = written / theirs["answers"]
        print(
            f"- llama.cpp, the same prompts, as many tokens, no rules: {rate:.0f} tokens a second"
        )


def print_row(name: str, measured: list[Measured]) -> None:
    cells = (
        f"{length / reading:,.0f} | {1000 * writing:.1f}"
        for length, (reading, writing) in zip(LENGTHS, measured, strict=True)
    )
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def competitors(folder: str) -> Iterator[tuple[str, Callable[[list[int]], Measured]]]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    config = DecoderConfig.of(model.config)
    assert config is not None
    yield "transformers, bfloat16", partial(with_transformers, model)
    cases: list[tuple[Precision, Routing | None]] = [
        ("bfloat16", None),
        ("int8", None),
        ("int4", None),
        ("int4", Routing()),
    ]
    for precision, routing in cases:
        made = RoutedDecoder(model, config, precision, routing)
        made.warm_up()
        yield f"ours, {precision}, {'routed' if routing else 'dense'}", partial(with_ours, made)


def with_ours(decoder: RoutedDecoder, ids: list[int]) -> Measured:
    row = decoder.open_row(len(ids) + WRITTEN)
    begun = time.perf_counter()
    decoder.read(row, ids)
    reading = time.perf_counter() - begun
    return reading, each(lambda: decoder.step([(row, [500])]))


@torch.inference_mode()
def with_transformers(model: Any, ids: list[int]) -> Measured:
    cache = DynamicCache(config=model.config)

    def forward(tokens: list[int]) -> None:
        model(input_ids=torch.tensor([tokens]), past_key_values=cache, logits_to_keep=1)

    begun = time.perf_counter()
    forward(ids)
    reading = time.perf_counter() - begun
    return reading, each(lambda: forward([500]))


def each(write: Callable[[], object]) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(WRITTEN):
        begun = time.perf_counter()
        write()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the default pipeline: its prompt, its tokens, and how long both took."""

    prompt: list[int]
    tokens: int
    seconds: float


def grounded_answers(path: Path, number: int) -> list[Answered]:
    settings = load_settings()
    answerer = Answerer.from_settings(settings)
    generator = answerer.generator
    found = []
    questions = prompts(answerer, RewriteForm(), path, settings.min_relevance)
    for prompt in islice(questions, number):
        begun = time.perf_counter()
        generation = generator.generate(prompt, GREEDY)
        deque(generation, maxlen=0)
        seconds = time.perf_counter() - begun
        written = generation.completion_tokens
        found.append(Answered(generator.prompt_ids(prompt), written, seconds))
    return found


def in_llama_cpp(texts: list[list[int]], answers: list[Answered]) -> dict[str, Any] | None:
    """The same in a process of its own: llama.cpp and torch leave each other no AMX tiles."""
    if find_spec("llama_cpp") is None:
        return None
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"texts": texts, "answers": [(a.prompt, a.tokens) for a in answers]}, file)
        file.flush()
        measured: dict[str, Any] = in_child(__spec__.name, file.name)
    return measured


def child(path: Path) -> None:
    work = json.loads(path.read_text())
    threads = len(os.sched_getaffinity(0))
    library = import_module("llama_cpp")
    llama = library.Llama(
        str(starter_pack.locate(starter_pack.GENERATOR)),
        n_ctx=max(LENGTHS) + 192,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )

    def read(ids: list[int]) -> float:
        llama.reset()
        begun = time.perf_counter()
        llama.eval(ids)
        return time.perf_counter() - begun

    def likeliest() -> int:
        logits = library.llama_get_logits_ith(llama.ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(llama.n_vocab(),)).argmax())

    texts = [(read(ids), each(lambda: llama.eval([500]))) for ids in work["texts"]]
    answers = 0.0
    for ids, count in work["answers"]:
        answers += read(ids)
        begun = time.perf_counter()
        for _ in range(count):
            llama.eval([likeliest()])
        answers += time.perf_counter() - begun
    print(json.dumps({"texts": texts, "answers": answers}))


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50)
