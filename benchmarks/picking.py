"""What the picked sentences are worth as an answer, by ROUGE-L; fits the shipped model of it.

Derived Natural Questions (not official KILT): the first 200 records are tested on, the others
fitted on. ELI5 questions have no gold passage and are tested on only. Beside ours stand the first
passage whole, and maximal marginal relevance (Carbonell and Goldstein 1998, weight 0.7).

Run: python -m benchmarks.picking INDEX nq-long/dev.jsonl STARTER_INDEX eli5/dev.jsonl [--write]
where INDEX was made by 'rag-rt index build --source kilt' of a corpus with all gold pages.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fitting import fit
from eval.rouge_l import RougeText, max_rouge_l
from rag_rt.evidence import EvidencePool
from rag_rt.picking import NAMES, PICKING_MODEL, SAME_SENTENCE, measure, pick_sentences
from rag_rt.requests import Request
from rag_rt.terminal import bar
from rag_rt.words import all_stems
from retriever.encoders import Encoder
from retriever.index import Index
from retriever.searching import Retriever

TESTED = 200  # records of each file, the first ones
RELEVANCE_WEIGHT = 0.7
SENTENCES = 5  # of maximal marginal relevance: as long as ours
NOTE = (
    "Logistic model of the share of a sentence's trigrams that gold answers hold, fitted by "
    "benchmarks/picking.py on derived Natural Questions (records 201 to 394)."
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its evidence and its gold answers."""

    pool: EvidencePool
    golds: tuple[str, ...]


Pick = Callable[[EvidencePool], list[int]]


def main(index: Path, natural: Path, starter_index: Path, eli5: Path, *, write: bool) -> None:
    encoder = Encoder("starter")
    retriever = Retriever(Index(index), encoder)
    tested = questions(natural, retriever, encoder, slice(TESTED))
    if write:
        fitted = questions(natural, retriever, encoder, slice(TESTED, None))
        features = np.concatenate([measure(question.pool) for question in fitted])
        shares = np.concatenate([held_shares(question) for question in fitted])
        fit(features, shares).save(PICKING_MODEL, NAMES, NOTE)
    simple = questions(eli5, Retriever(Index(starter_index), encoder), encoder, slice(TESTED))
    print("Derived data, not official KILT. ROUGE-L of what is picked as an answer (words):\n")
    print(f"| picked | {len(tested)} Natural Questions | {len(simple)} ELI5 |\n|---|---|---|")
    picks: dict[str, Pick] = {
        "the first passage": first_passage,
        "maximal marginal relevance": most_relevant,
        "ours": pick_sentences,
    }
    for name, pick in picks.items():
        print(f"| {name} | {scored(tested, pick)} | {scored(simple, pick)} |")


def questions(path: Path, retriever: Retriever, encoder: Encoder, part: slice) -> list[Question]:
    records = [json.loads(line) for line in path.read_text().splitlines()][part]
    made: list[Question] = []
    with bar(f"Reading {path.parent.name}") as progress:
        for record in records:
            hits = retriever.search(record["input"], Request.k)
            golds = tuple(o["answer"] for o in record["output"] if o.get("answer"))
            made.append(Question(EvidencePool.gather(record["input"], hits, encoder), golds))
            progress(len(made), len(records))
    return made


def held_shares(question: Question) -> np.typing.NDArray[np.float64]:
    """The greatest share of each sentence's trigrams (S,) that one gold answer holds."""
    golds = [set(trigrams(gold)) for gold in question.golds]
    sentences = [trigrams(sentence.text) for sentence in question.pool.sentences]
    return np.array([max(share(mine, gold) for gold in golds) for mine in sentences])


def trigrams(text: str) -> list[tuple[str, ...]]:
    stems = all_stems(text)
    return list(zip(stems, stems[1:], stems[2:], strict=False)) or [tuple(stems)]


def share(mine: Sequence[tuple[str, ...]], gold: set[tuple[str, ...]]) -> float:
    return sum(trigram in gold for trigram in mine) / len(mine)


def scored(asked: Sequence[Question], pick: Pick) -> str:
    """The mean ROUGE-L with its standard error, and the mean number of words."""
    scores, words = [], []
    for question in asked:
        text = " ".join(question.pool.sentences[row].text for row in pick(question.pool))
        scores.append(max_rouge_l(RougeText(text), map(RougeText, question.golds)))
        words.append(len(text.split()))
    error = np.std(scores) / np.sqrt(len(scores))
    return f"{np.mean(scores):.3f} ± {error:.3f} ({np.mean(words):.0f})"


def first_passage(pool: EvidencePool) -> list[int]:
    return [row for row, sentence in enumerate(pool.sentences) if sentence.hit == 0]


def most_relevant(pool: EvidencePool) -> list[int]:
    relevance = pool.vectors @ pool.question_vector
    redundancy = np.zeros_like(relevance)  # (S,): greatest cosine to a sentence picked before
    picked: list[int] = []
    while len(picked) < min(SENTENCES, len(relevance)):
        gain = RELEVANCE_WEIGHT * relevance - (1 - RELEVANCE_WEIGHT) * redundancy
        gain[redundancy >= SAME_SENTENCE] = -np.inf
        picked.append(int(gain.argmax()))
        redundancy = np.maximum(redundancy, pool.vectors @ pool.vectors[picked[-1]])
    return sorted(picked)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:] if argument != "--write"]
    main(*paths, write="--write" in sys.argv)
