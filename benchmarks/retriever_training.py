"""What fine-tuning all-MiniLM-L6-v2 is worth on real questions that it was not tuned on.

    python -m benchmarks.retriever_training SHARED_DATA WORK [STEPS] [BATCH] [PART]

Trained on eli5/train (question and answer) and on the pages of mini_kilt that no question of
nq-long/dev is about, from which questions are made: a page's title asks for its first passage,
title and heading for the passage under the heading; other passages of the page are hard negatives.
Tested on nq-long/dev (derived, not official KILT) over all of mini_kilt, and on eli5/dev, each
question's own answers among all. Both encoders are measured in one run; intervals and p-values are
paired, over questions. A stopped run goes on, and vectors are kept in WORK.
"""

import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import machine
from eval.significance import compare_paired
from rag_rt.terminal import bar, say
from retriever.encoders import DualEncoder, Vectors
from retriever.loading import Device
from retriever.named_encoders import open_encoder
from retriever.passages import Page, Passage
from retriever.ranking_metrics import ranking_metrics
from retriever.sources import open_source
from retriever.sources.skipping import Skipped
from retriever.splitting import split_page
from retriever.training import train
from retriever.training_data import HeldOut, read_examples
from retriever.training_plan import Listener, Plan, TrainingSettings

TITLE_QUESTIONS = ("{}", "what is {}", "definition of {}", "what is the meaning of {}", "about {}")
HEADING_QUESTIONS = (
    "{title} {heading}",
    "{heading} of {title}",
    "what is the {heading} of {title}",
)
PER_PAGE = 2  # questions of either kind, so that ELI5, titles and headings come to like parts
LONGEST_HEADING = 6  # words: mini_kilt has headings as paragraphs of one line
FEWEST_WORDS = 25  # of a passage that is trained on
NEGATIVES = 4
ANSWERS = 0.5  # a passage holds an answer that shares half the trigrams of either with it

Metrics = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Natural:
    """nq-long/dev over mini_kilt: which pages (Q, G) and passages (Q, P) are right."""

    questions: list[str]
    passages: list[Passage]
    pages: npt.NDArray[np.int64]
    """(P,) the page of each passage, numbered."""
    right_pages: npt.NDArray[np.bool_]
    right_passages: npt.NDArray[np.bool_]


def main(data: Path, work: Path, steps: int = 300, batch: int = 64, part: int = 32) -> None:
    work.mkdir(parents=True, exist_ok=True)
    records = [json.loads(line) for line in (data / "nq-long/dev.jsonl").read_text().splitlines()]
    gold = {place["wikipedia_id"] for record in records for place in provenance(record)}
    corpus = list(pages_of(data / "wikipedia/mini_kilt_knowledgesource.jsonl.xz"))
    made = [e for page in corpus if page.id not in gold for e in made_examples(page)]
    pseudo = work / "pseudo.jsonl"
    pseudo.write_text("".join(json.dumps(example) + "\n" for example in made))
    settings = TrainingSettings(
        steps=steps,
        batch=batch,
        part=part,
        every=max(1, steps // 3),
        max_tokens=128,
        precision="bfloat16",
        learning_rate=3e-5,
    )
    simple = data / "eli5/dev.jsonl"
    files = [data / "eli5/train.jsonl.xz", pseudo]
    plan = Plan("starter", files, work / "encoder", settings, held_out=simple)
    with bar("Training") as progress:
        tuned = train(plan, Listener(say, lambda metrics: say(json.dumps(metrics)), progress))
    natural = natural_questions(records, corpus)
    answers = HeldOut.of(read_examples(simple))
    device: Device = "cuda" if torch.cuda.is_available() else "cpu"
    start, after = (
        measure(open_encoder(name, device=device), natural, answers, work)
        for name in ("starter", tuned)
    )
    report(
        start, after, f"{steps} steps of {batch} questions, {len(made):,} made and 3,500 of ELI5"
    )


def pages_of(path: Path) -> Iterator[Page]:
    return open_source("kilt", str(path)).pages(Skipped(0, say))


def provenance(record: Mapping[str, Any]) -> list[dict[str, str]]:
    return [place for output in record["output"] for place in output.get("provenance", ())]


def made_examples(page: Page) -> Iterator[dict[str, Any]]:
    """Questions made of a page, each with its passage and other passages of the page."""
    order = random.Random(page.id)
    passages = [p for p in split_page(page) if len(p.text.split()) >= FEWEST_WORDS]
    if len(passages) < 2:
        return
    title = re.sub(r" \(.*\)", "", page.title).lower()
    for form in order.sample(TITLE_QUESTIONS, PER_PAGE):
        yield example(form.format(title), passages[0], passages[0].text, passages, order)
    under = list(headings(page, passages))
    for heading, passage in order.sample(under, min(PER_PAGE, len(under))):
        form = order.choice(HEADING_QUESTIONS)
        question = form.format(title=title, heading=heading.rstrip(".").lower())
        text = passage.text.replace(heading, "").strip()  # which would give it away
        yield example(question, passage, text, passages, order)


def headings(page: Page, passages: Sequence[Passage]) -> Iterator[tuple[str, Passage]]:
    """The headings of a page, each with the passage in which the text under it begins."""
    bounds = [*page.paragraph_starts, len(page.text)]
    for start, end in pairwise(bounds):
        heading = page.text[start:end].strip()
        if heading.endswith(".") and len(heading.split()) <= LONGEST_HEADING:
            yield from ((heading, p) for p in passages if p.start <= end < p.end)


def example(
    question: str, passage: Passage, text: str, others: Sequence[Passage], order: random.Random
) -> dict[str, Any]:
    wrong = [other.text for other in others if other is not passage]
    return {
        "question": question,
        "positive": {"title": passage.title, "text": text, "page_id": passage.page_id},
        "negatives": [
            {"title": passage.title, "text": text}
            for text in order.sample(wrong, min(NEGATIVES, len(wrong)))
        ],
    }


def natural_questions(records: Sequence[Mapping[str, Any]], corpus: Sequence[Page]) -> Natural:
    passages = [passage for page in corpus for passage in split_page(page)]
    numbers = {page.id: number for number, page in enumerate(corpus)}
    pages = np.array([numbers[passage.page_id] for passage in passages])
    right_pages = np.zeros((len(records), len(corpus)), dtype=np.bool_)
    right_passages = np.zeros((len(records), len(passages)), dtype=np.bool_)
    for row, record in enumerate(records):
        right_pages[row, [numbers[place["wikipedia_id"]] for place in provenance(record)]] = True
        answers = [trigrams(o["answer"]) for o in record["output"] if o.get("answer")]
        for column in np.flatnonzero(right_pages[row, pages]):
            mine = trigrams(passages[column].text)
            right_passages[row, column] = any(
                len(mine & answer) >= ANSWERS * min(len(mine), len(answer)) for answer in answers
            )
    return Natural([r["input"] for r in records], passages, pages, right_pages, right_passages)


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}


def measure(encoder: DualEncoder, natural: Natural, simple: HeldOut, work: Path) -> Metrics:
    """The metrics of each question: of pages, of passages with the answer, of ELI5's answers."""
    vectors = passage_vectors(encoder, natural.passages, work)
    similarities = encoder.encode_questions(natural.questions) @ vectors.T
    of_pages = np.full(natural.right_pages.shape, -np.inf, dtype=np.float32)
    for row, values in enumerate(similarities):
        np.maximum.at(of_pages[row], natural.pages, values)
    answered = natural.right_passages.any(axis=1)
    pool = encoder.encode_passages([plain_passage(text.text) for text in simple.pool])
    answers = encoder.encode_questions(simple.questions) @ pool.T
    kinds = {
        "NQ, page": ranking_metrics(of_pages, natural.right_pages),
        "NQ, passage with the answer": ranking_metrics(
            similarities[answered], natural.right_passages[answered]
        ),
        "ELI5, own answers": ranking_metrics(answers, simple.relevant),
    }
    return {f"{kind}: {name}": m for kind, metrics in kinds.items() for name, m in metrics.items()}


def passage_vectors(encoder: DualEncoder, passages: Sequence[Passage], work: Path) -> Vectors:
    kept = work / f"vectors-{encoder.fingerprint[:16]}.npy"
    if not kept.is_file():
        with bar("Encoding passages") as progress:
            np.save(kept, encoder.encode_passages(passages, progress))
    vectors: Vectors = np.load(kept)
    return vectors


def plain_passage(text: str) -> Passage:
    return Passage("", "", "", text, "", 0, len(text))


def report(start: Metrics, after: Metrics, trained: str) -> None:
    print(f"{machine()}\nDerived questions, not official KILT. {trained}.\n")
    print("| metric | questions | MiniLM | fine-tuned | difference (95 %) | p | better, worse |")
    print("|---|---|---|---|---|---|---|")
    for name, before in start.items():
        (paired,) = compare_paired(before[:, None], after[name][:, None], seed=0)
        low, high = paired.interval or (0, 0)
        print(
            f"| {name} | {len(before)} | {before.mean():.3f} | {after[name].mean():.3f} | "
            f"{paired.difference:+.3f} ({low:+.3f} to {high:+.3f}) | {paired.p_value:.4f} | "
            f"{paired.better}, {paired.worse} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
