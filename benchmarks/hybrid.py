"""Vectors, words and both: which finds the page that answers.

    python -m benchmarks.hybrid DIR                                   # mini_kilt_knowledgesource
    python -m benchmarks.hybrid DIR --source wikiextractor --path PATH
    python -m benchmarks.hybrid DIR --constants                       # what each constant brings

DIR is an index, which is built there where there is none. The questions are `nq-long/dev`: 394
Natural Questions with one gold page each, *derived* for this project and not official KILT. Pages
are ranked by the best of their passages among the first 50; R-precision is the share of questions
whose first page is the gold one, Recall@5 that of questions with it among the first five.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.machine import machine
from retriever import fusing
from retriever.building import build_index
from retriever.index import Index
from retriever.named_encoders import open_encoder
from retriever.passages import MAX_PASSAGES
from retriever.search_modes import SEARCH_MODES
from retriever.searching import Retriever
from retriever.sources import open_source

DATA = Path(__file__).resolve().parents[2] / "shared/data"
QUESTIONS = DATA / "nq-long/dev.jsonl"
CORPUS = DATA / "wikipedia/mini_kilt_knowledgesource.jsonl.xz"
FOLDS = 10
TIMED = 40  # questions that are asked alone; the figures are of all of them, asked together
GRID = {"WORDS": (0.0, 0.2, 0.3, 0.4, 0.6), "PAGE": (0.0, 0.3, 0.5, 0.7, 1.0), "OF_PAGE": (3, 5, 8)}

Places = npt.NDArray[np.float64]
"""(Q,) the place of the gold page among those found, from 1; infinite where it is not there."""


class Question(NamedTuple):
    """A question and the ids of the pages that answer it."""

    text: str
    gold: frozenset[str]


class Candidates(NamedTuple):
    """What is fused for a question: C passages, by rows."""

    similarities: npt.NDArray[np.float32]
    word_scores: npt.NDArray[np.float32]
    pages: list[str]


def read_questions(path: Path) -> list[Question]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Question(
            record["input"],
            frozenset(
                source["wikipedia_id"]
                for output in record["output"]
                for source in output.get("provenance", ())
            ),
        )
        for record in records
    ]


def place(question: Question, pages: Sequence[str]) -> float:
    """The place of the first gold page among the pages of passages, best first."""
    different = enumerate(dict.fromkeys(pages), start=1)
    return min((place for place, page in different if page in question.gold), default=np.inf)


def figures(places: Places) -> str:
    return f"{np.mean(places <= 1):11.3f} {np.mean(places <= 5):10.3f}"


def print_modes(retriever: Retriever, questions: Sequence[Question]) -> None:
    print(f"\n{'mode':28} {'R-precision':>11} {'Recall@5':>10} {'gained':>7} {'lost':>5} {'ms':>7}")
    dense: Places | None = None
    for mode in SEARCH_MODES:
        start = time.perf_counter()
        for question in questions[:TIMED]:
            retriever.search(question.text, MAX_PASSAGES, mode)
        milliseconds = (time.perf_counter() - start) / len(questions[:TIMED]) * 1000
        found = retriever.search_batch([q.text for q in questions], MAX_PASSAGES, mode)
        places = np.array(
            [
                place(q, [h.passage.page_id for h in hits])
                for q, hits in zip(questions, found, strict=True)
            ]
        )
        dense = places if dense is None else dense
        gained, lost = (places <= 1) & (dense > 1), (places > 1) & (dense <= 1)
        print(f"{mode:28} {figures(places)} {gained.sum():7} {lost.sum():5} {milliseconds:7.1f}")


def gather(retriever: Retriever, questions: Sequence[Question]) -> Iterator[Candidates]:
    """What the hybrid search fuses, by the index's own methods."""
    snapshot = retriever.index.current()
    queries = retriever.encoder.encode_questions([question.text for question in questions])
    _, near = snapshot.search(queries, fusing.CANDIDATES)
    for question, query, near_rows in zip(questions, queries, near, strict=True):
        word_scores, word_rows = snapshot.search_words(question.text, fusing.CANDIDATES)
        rows = np.union1d(near_rows[near_rows >= 0], word_rows)
        words = np.zeros(len(rows), dtype=np.float32)
        words[np.searchsorted(rows, word_rows)] = word_scores
        similarities = snapshot.similarities(query[None], rows[None])[0]
        yield Candidates(similarities, words, snapshot.page_ids(rows.tolist()))


def fused_places(
    questions: Sequence[Question], candidates: Sequence[Candidates], **constants: float
) -> Places:
    """The places where the constants of `fusing` have these values."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in constants.items():
            patch.setattr(fusing, name, value)
        return np.array(
            [best_place(q, c, fusing.fuse(*c)) for q, c in zip(questions, candidates, strict=True)]
        )


def best_place(question: Question, candidates: Candidates, scores: npt.NDArray[Any]) -> float:
    order = np.argsort(-scores, kind="stable")[:MAX_PASSAGES]
    return place(question, [candidates.pages[row] for row in order])


def reciprocal_ranks(candidates: Candidates) -> npt.NDArray[np.float64]:
    """Cormack et al. 2009, with its constant of 60: the usual way of joining two rankings."""
    scores = np.zeros(len(candidates.pages))
    for values in (candidates.similarities, candidates.word_scores):
        ranks = np.empty(len(values))
        ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
        scores += 1 / (60 + ranks)
    return scores


def print_constants(retriever: Retriever, questions: Sequence[Question]) -> None:
    candidates = list(gather(retriever, questions))
    print(f"\n{'fusion':28} {'R-precision':>11} {'Recall@5':>10}")
    ranks = [
        best_place(q, c, reciprocal_ranks(c)) for q, c in zip(questions, candidates, strict=True)
    ]
    print(f"{'reciprocal ranks':28} {figures(np.array(ranks))}")
    print(f"{'as shipped':28} {figures(fused_places(questions, candidates))}")
    for name, values in GRID.items():
        for value in values:
            places = fused_places(questions, candidates, **{name: value})
            print(f"{f'{name} {value}':28} {figures(places)}")
    print(f"{f'fitted, {FOLDS}-fold':28} {figures(cross_validated(questions, candidates))}")


def cross_validated(questions: Sequence[Question], candidates: Sequence[Candidates]) -> Places:
    """Places where the constants are chosen without the question: what fitting them is worth."""
    table = np.array(
        [
            fused_places(questions, candidates, **dict(zip(GRID, values, strict=True)))
            for values in product(*GRID.values())
        ]
    )  # (constants, Q)
    folds = np.random.default_rng(0).permutation(len(questions)) % FOLDS
    places = np.empty(len(questions))
    for fold in range(FOLDS):
        others = table[:, folds != fold]
        quality = (others <= 1).mean(1) + (others <= 5).mean(1)
        places[folds == fold] = table[np.argmax(quality), folds == fold]
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--source", default="kilt")
    parser.add_argument("--path", default=str(CORPUS))
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--constants", action="store_true")
    options = parser.parse_args()
    encoder = open_encoder("starter")
    if not options.index.exists():
        build_index(open_source(options.source, options.path), encoder, options.index, report=print)
    retriever = Retriever(Index(options.index), encoder)
    questions = read_questions(options.questions)
    print(machine())
    facts = retriever.corpus
    print(f"{facts.source}: {facts.passages:,} passages of {facts.pages:,} pages")
    print(f"{len(questions)} questions; derived data, not official KILT")
    print_modes(retriever, questions)
    if options.constants:
        print_constants(retriever, questions)


if __name__ == "__main__":
    main()
