"""Tokens a pass and seconds of grounded answers, with drafts looked up in the prompt and without.

Questions in the KILT schema, answered over the prepared index as `rag-rt answer` would; those that
it does not cover are left out. Run: python -m benchmarks.drafting nq-long/dev.jsonl [NUMBER]
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.machine import machine
from rag_rt.answerer import Answerer
from rag_rt.batching import Writing
from rag_rt.choosing import Sampling
from rag_rt.coverage import covers
from rag_rt.evidence import EvidencePool
from rag_rt.generation import Generator
from rag_rt.prompting import INSTRUCTION_TOKENS, PassagesForm, Prompt, PromptForm, RewriteForm
from rag_rt.settings import load_settings

HITS = 8
GREEDY = Sampling()
WARM = Sampling(temperature=0.7, top_p=0.9, seed=0)


@dataclass(frozen=True, slots=True)
class Run:
    """One answer; `reading` and `writing` are seconds."""

    answer: Writing
    reading: float
    writing: float


def main(path: Path, number: int) -> None:
    settings = load_settings()
    answerer = Answerer.from_settings(settings)
    generator = answerer.generator
    cases: dict[str, tuple[PromptForm, Sampling]] = {
        "rewrite": (RewriteForm(), GREEDY),
        "rewrite, sampled": (RewriteForm(), WARM),
        "passages": (PassagesForm(), GREEDY),
    }
    print(f"{number} answers each, {generator.name}; {machine()}\n")
    print(
        "| prompt | drafts | tokens | passes | tokens a pass | accepted | writing ms a token ",
        end="",
    )
    print("| reading s | writing s | as without |\n|---|---|---|---|---|---|---|---|---|---|")
    for name, (form, sampling) in cases.items():
        plain: list[Run] = []
        drafted: list[Run] = []
        for prompt in islice(prompts(answerer, form, path, settings.min_relevance), number):
            plain.append(run(generator, prompt, sampling, draft=False))
            drafted.append(run(generator, prompt, sampling, draft=True))
        same = sum(a.answer.tokens == b.answer.tokens for a, b in zip(plain, drafted, strict=True))
        print(row(name, "no", plain), "|")
        print(row(name, "yes", drafted), f"{same} of {len(plain)} |", flush=True)


def prompts(
    answerer: Answerer, form: PromptForm, path: Path, min_relevance: float
) -> Iterator[Prompt]:
    count = answerer.generator.count_tokens
    for line in path.read_text().splitlines():
        question = " ".join(json.loads(line)["input"].split())
        hits = answerer.retriever.search(question, HITS)
        if covers(question, hits, min_relevance):
            pool = EvidencePool.gather(question, hits, answerer.encoder)
            room = answerer.generator.context - GREEDY.max_tokens - count(question)
            yield form.build(pool, question, room - INSTRUCTION_TOKENS, count)


def run(generator: Generator, prompt: Prompt, sampling: Sampling, *, draft: bool) -> Run:
    batch = generator.new_batch()
    answer = generator.join(batch, prompt, sampling, draft=draft)
    begun = read = time.perf_counter()
    while answer.finish_reason is None:
        if answer.held < answer.prompt_tokens - 1:
            batch.advance()
            read = time.perf_counter()
        else:
            batch.advance()
    return Run(answer, read - begun, time.perf_counter() - read)


def row(name: str, drafts: str, runs: Sequence[Run]) -> str:
    tokens = sum(len(run.answer.tokens) for run in runs)
    passes = sum(run.answer.steps for run in runs)
    drafted = sum(run.answer.drafted for run in runs)
    accepted = sum(run.answer.accepted for run in runs)
    reading, writing = sum(run.reading for run in runs), sum(run.writing for run in runs)
    return (
        f"| {name} | {drafts} | {tokens:,} | {passes:,} | {tokens / passes:.2f} "
        f"| {f'{accepted / drafted:.0%}' if drafted else '–'} | {writing / tokens * 1000:.1f} "
        f"| {reading:.1f} | {writing:.1f} |"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50)
