"""Answers by mode beside plain prompting: scores, support, copying, length and time, in one run.

Plain prompting shows the generator whole passages and the question, and keeps what it writes. The
control asks in the default mode with passages of random pages. Questions in the KILT schema
(derived, not official KILT). Figures go to FIGURES, question by question; a run that was stopped
goes on.

Run: python -m benchmarks.answer_modes FIGURES QUESTIONS INDEX [NUMBER]
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import machine
from eval.answer_metrics import exact_match_and_f1
from eval.rouge_l import RougeText, max_rouge_l
from rag_rt.answerer import Answerer
from rag_rt.answers import Answer, Status, Support
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import Grounder
from rag_rt.prompting import PassagesForm
from rag_rt.requests import MAX_QUESTION, Mode, Request
from rag_rt.settings import load_settings
from rag_rt.terminal import bar
from retriever import Hit
from retriever.random_passages import RandomRetriever

RUN = 8  # words in a row that a passage holds, from which they count as copied
DEFAULT = "grounded (default)"
SEED = 0  # of the random passages
COLUMNS = (
    "way",
    "answered",
    "ROUGE-L",
    "F1",
    "supported",
    "by the retrieved",
    "repeated 4-grams",
    "copied",
    "words",
    "seconds",
    "tokens a second",
)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to answer."""

    name: str
    mode: Mode
    plain: bool = False
    random: bool = False
    always: bool = False
    """Whether it answers where the passages do not."""
    k: int = Request.k
    """Passages."""


WAYS = (
    Way("plain prompting", Mode.FREE, plain=True, always=True),
    Way("free", Mode.FREE),
    Way(DEFAULT, Mode.GROUNDED),
    Way("extractive", Mode.EXTRACTIVE),
    Way("random passages, grounded", Mode.GROUNDED, random=True),
    Way("random passages, made to answer", Mode.GROUNDED, random=True, always=True),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one answer is worth; shares in [0, 1], `retrieved` is support by the retrieved."""

    way: str
    id: str
    answered: bool
    rouge_l: float
    f1: float
    supported: list[bool]
    retrieved: list[bool]
    repeated: float
    copied: float
    words: int
    tokens: int
    seconds: float


def main(figures: Path, questions: Path, index: Path, number: int) -> None:
    settings = load_settings().model_copy(update={"index": index})
    asking = Asking(Answerer.from_settings(settings), settings.min_relevance)
    records = [json.loads(line) for line in questions.read_text().splitlines()][:number]
    done = ask_all(figures, records, lambda _: [(way, asking) for way in WAYS])
    print(f"{len(records)} questions of {questions.parent.name}, derived data, not official KILT;")
    print(f"{asking.answerer.generator.name}, greedy, no batch; {machine()}\n")
    ids = {record["id"] for record in records}
    asked = [one for one in done if one.id in ids]
    print_table(asked)
    answered = {one.id for one in asked if one.way == DEFAULT and one.answered}
    print(f"\nThe {len(answered)} of them that {DEFAULT} answers:\n")
    print_table([one for one in asked if one.id in answered])


def ask_all(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    ways: Callable[[int], Sequence[tuple[Way, "Asking"]]],
) -> list[Figures]:
    """Ask each question in its ways, and append what the file of figures does not hold yet.

    Args:
        path: the file.
        records: the questions.
        ways: of the question at a place, each with what asks it.
    """
    done = read(path)
    known = {(one.id, one.way) for one in done}
    with path.open("a") as file, bar("Answering") as progress:
        for count, record in enumerate(records):
            progress(count, len(records))
            for way, asking in ways(count):
                if (record["id"], way.name) not in known:
                    done.append(asking.figures(record, way))
                    file.write(json.dumps(asdict(done[-1])) + "\n")
                    file.flush()
    return done


def read(path: Path) -> list[Figures]:
    """The figures that are there, without a last line that was cut."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(whole))
    return [Figures(**json.loads(line)) for line in whole]


class Asking:
    """Asks one index in each way."""

    def __init__(self, answerer: Answerer, min_relevance: float) -> None:
        self.answerer = answerer
        self._min_relevance = min_relevance
        self._random = RandomRetriever(answerer.retriever, SEED)

    def figures(self, record: Mapping[str, Any], way: Way) -> Figures:
        """Answer a question in a way, and measure the answer."""
        answerer = self._answerer(way)
        request = Request(record["input"][:MAX_QUESTION], mode=way.mode, k=way.k)
        drawn: tuple[Hit, ...] = ()
        if way.random:
            (drawn,) = self._random.search_batch([request.question], request.k)
        begun = time.perf_counter()
        answer = answerer.answer_from(request, drawn) if drawn else answerer.answer(request)
        seconds = time.perf_counter() - begun
        golds = [output["answer"] for output in record["output"] if output.get("answer")]
        answered = answer.status is Status.ANSWERED
        sentences = answer.sentences if answered else ()
        supported = [s.support is Support.SUPPORTED for s in sentences]
        return Figures(
            way=way.name,
            id=record["id"],
            answered=answered,
            rouge_l=max_rouge_l(RougeText(answer.text), map(RougeText, golds)),
            f1=exact_match_and_f1(answer.text, golds)[1],
            supported=supported,
            retrieved=self._by_retrieved(request, answer) if drawn and answered else supported,
            repeated=repeated_share(answer.text.lower().split()),
            copied=copied_share(answer),
            words=len(answer.text.split()),
            tokens=answer.usage.completion_tokens,
            seconds=seconds,
        )

    def _answerer(self, way: Way) -> Answerer:
        mine = self.answerer
        return Answerer(
            mine.retriever,
            mine.generator,
            PassagesForm() if way.plain else mine.form,
            min_relevance=None if way.always else self._min_relevance,
            entailment=mine.entailment,
        )

    def _by_retrieved(self, request: Request, answer: Answer) -> list[bool]:
        hits = self.answerer.retriever.search(request.question, request.k)
        encoder = self.answerer.encoder
        pool = EvidencePool.gather(request.question, hits, encoder)
        grounder = Grounder(pool, encoder, self.answerer.entailment)
        found = (grounder.ground(answer.text, s.start, s.end) for s in answer.sentences)
        return [sentence.support is Support.SUPPORTED for sentence in found]


def repeated_share(words: Sequence[str]) -> float:
    """The share of 4-grams that came before in the same answer."""
    ngrams = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def copied_share(answer: Answer) -> float:
    """The share of words in a run of `RUN` that stands in a passage."""
    held: set[tuple[str, ...]] = set()
    for hit in answer.hits:
        held.update(runs(hit.passage.text.split()))
    words = answer.text.split()
    copied = np.zeros(len(words), dtype=bool)
    for place, run in enumerate(runs(words)):
        copied[place : place + RUN] |= run in held
    return float(copied.mean()) if words else 0.0


def runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Each `RUN` words in a row."""
    return zip(*(words[offset:] for offset in range(RUN)), strict=False)


def print_table(figures: Sequence[Figures], ways: Sequence[Way] = WAYS) -> None:
    """Means over answers; of support over sentences, with a bootstrap interval over answers."""
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for way in ways:
        rows = [one for one in figures if one.way == way.name]
        tokens, seconds = (sum(getattr(row, n) for row in rows) for n in ("tokens", "seconds"))
        print(
            f"| {way.name} | {mean(rows, 'answered'):.0%} "
            f"| {100 * mean(rows, 'rouge_l'):.1f} | {100 * mean(rows, 'f1'):.1f} "
            f"| {support(rows, 'supported')} | {support(rows, 'retrieved')} "
            f"| {mean(rows, 'repeated'):.1%} | {mean(rows, 'copied'):.0%} "
            f"| {mean(rows, 'words'):.0f} | {median([row.seconds for row in rows]):.2f} "
            f"| {tokens / seconds:.0f} |"
        )


def mean(rows: Sequence[Figures], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def support(rows: Sequence[Figures], name: str) -> str:
    """The share of sentences that are supported, of answers alone, with a 95 % interval."""
    labels = [getattr(row, name) for row in rows if row.answered]
    if not labels:
        return "–"
    counts = np.array([[sum(one), len(one)] for one in labels])
    draws = np.random.default_rng(0).integers(len(counts), size=(1000, len(counts)))
    drawn = counts[draws].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    total = counts.sum(axis=0)
    return f"{total[0] / total[1]:.0%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    figures_path, questions_path, index_path = map(Path, sys.argv[1:4])
    main(figures_path, questions_path, index_path, int((sys.argv[4:] or ["200"])[0]))
