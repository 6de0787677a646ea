"""Questions with passages that answer them or do not, of several kinds.

Derived Natural Questions in the KILT schema (not official KILT). Each question has its gold page in
the index; it is asked over the whole index, over the index without that page, over the passages of
another question, and after a change that leaves it without an answer.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.answerable_questions import (
    FALSE_PRESUPPOSITION,
    FOREIGN,
    FUTURE_YEARS,
    INVENTED_NAMES,
    NONSENSE,
    PRIVATE,
)
from rag_rt.evidence import EvidencePool
from rag_rt.requests import Request
from rag_rt.words import content_words
from retriever import Hit
from retriever.encoders import Encoder, Progress, Vectors
from retriever.passages import MAX_PASSAGES
from retriever.searching import Retriever

TESTED = 200  # records of the file, the first ones; the model is fitted on the others
ANSWERED = "gold page among the passages"
SIMPLE = "lead section asked for by its title"
REMOVED = "gold page taken away"
KINDS = (
    ANSWERED,
    SIMPLE,
    REMOVED,
    "another question's passages",
    "another question's subject",
    "invented name",
    "year to come",
    "false presupposition",
    "other languages",
    "nonsense",
    "private or of the moment",
)
SIMPLE_FORMS = ("{}", "What is {}?", "Tell me about {}.", "{} facts", "explain {}")
TITLES = 120  # of the starter corpus
HELD = 0.6  # content words of the gold answer from which passages are taken to hold it


@dataclass(frozen=True, slots=True)
class Record:
    """A question with its gold pages and its longest gold answer; dealt to one of two sides."""

    question: str
    pages: frozenset[str]
    answer: str
    tested: bool


@dataclass(frozen=True, slots=True)
class Case:
    """A question and what was found for it."""

    kind: str
    question: str
    hits: tuple[Hit, ...]
    tested: bool

    @property
    def answerable(self) -> bool:
        """Whether the passages answer."""
        return self.kind in (ANSWERED, SIMPLE)


def records(path: Path) -> list[Record]:
    """All records; those of the fitted side that share a gold page with the tested are left out."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        pages = {p["title"] for o in record["output"] for p in o.get("provenance", [])}
        answer = max((o.get("answer", "") for o in record["output"]), key=len)
        question = _written(record["input"], pages) if number % 2 else record["input"]
        found.append(Record(question, frozenset(pages), answer, number < TESTED))
    pages_tested = frozenset[str]().union(*(r.pages for r in found if r.tested))
    return [r for r in found if r.tested or not r.pages & pages_tested]


def _written(question: str, pages: Iterable[str]) -> str:
    """As one writes with care: names and the first letter in capitals, a question mark."""
    capitals = {w.lower(): w for title in pages for w in re.findall(r"\w+", title) if w.istitle()}
    words = re.sub(r"\w+", lambda word: capitals.get(word[0], word[0]), question)
    return f"{words[0].upper()}{words[1:]}?"


def natural_cases(records: Sequence[Record], retriever: Retriever) -> Iterator[Case]:
    """The cases that are made of records, and the written questions over the same index."""
    for tested in (False, True):
        yield from natural_side([r for r in records if r.tested is tested], retriever)


def natural_side(side: Sequence[Record], retriever: Retriever) -> Iterator[Case]:
    """Those of one side."""
    tested = side[0].tested
    asked = [(c.kind, c.question) for c in changed(side)] + list(written(tested))
    found = retriever.search_batch([question for _, question in asked], Request.k)
    for (kind, question), hits in zip(asked, found, strict=True):
        yield Case(kind, question, hits, tested)
    yield from _over_articles(side, retriever)


def changed(side: Sequence[Record]) -> Iterator[Case]:
    """Questions about a subject of another question, an invented name, a year to come; no hits.

    Each record becomes one of them, in turn.
    """
    tested = int(side[0].tested)
    names = INVENTED_NAMES[tested::2]
    years = FUTURE_YEARS[tested::2]
    for number, record in enumerate(side):
        subject = subject_of(record)
        other = side[(number + len(side) // 2) % len(side)]
        if number % 3 == 0 or not subject:
            body = record.question.removesuffix("?")
            mark = record.question[len(body) :]
            question = f"{body} in {years[number % len(years)]}{mark}"
            yield Case("year to come", question, (), record.tested)
        elif number % 3 == 1 and not record.pages & other.pages:
            question = record.question.replace(subject, min(other.pages), 1)
            yield Case("another question's subject", question, (), record.tested)
        else:
            question = record.question.replace(subject, names[number % len(names)], 1)
            yield Case("invented name", question, (), record.tested)


def subject_of(record: Record) -> str:
    """The longest run of the question's words that are in its page's title, or nothing."""
    titles = content_words(" ".join(record.pages))
    runs: list[list[re.Match[str]]] = [[]]
    for word in re.finditer(r"\w+", record.question):
        if content_words(word[0]) & titles:
            runs[-1].append(word)
        else:
            runs.append([])
    longest = max(runs, key=len)
    return record.question[longest[0].start() : longest[-1].end()] if longest else ""


def written(tested: bool) -> Iterator[tuple[str, str]]:
    """Kind and text of the questions of benchmarks/answerable_questions.py on one side."""
    lists = {
        "false presupposition": FALSE_PRESUPPOSITION,
        "other languages": FOREIGN,
        "nonsense": NONSENSE,
        "private or of the moment": PRIVATE,
    }
    for kind, questions in lists.items():
        for question in questions[int(tested) :: 2]:
            yield kind, question


def _over_articles(side: Sequence[Record], retriever: Retriever) -> Iterator[Case]:
    """The questions over the whole index, without their pages, and over others' passages."""
    found = retriever.search_batch([record.question for record in side], MAX_PASSAGES)
    for record, hits in zip(side, found, strict=True):
        best = hits[: Request.k]
        titles = {hit.passage.title for hit in best}
        if record.pages & titles and held(record.answer, best) >= HELD:
            yield Case(ANSWERED, record.question, best, record.tested)
        others = [hit for hit in hits if hit.passage.title not in record.pages]
        left = _ranked(others[: Request.k])
        if left and held(record.answer, left) < HELD:
            yield Case(REMOVED, record.question, left, record.tested)
    for number, record in enumerate(side):
        hits = found[(number + 1) % len(side)][: Request.k]
        if not record.pages & {hit.passage.title for hit in hits}:
            theirs = _scored(record.question, hits, retriever)
            yield Case("another question's passages", record.question, theirs, record.tested)


def held(answer: str, hits: Sequence[Hit]) -> float:
    """The share of an answer's content words that passages hold."""
    words = content_words(answer)
    there = content_words(" ".join(f"{h.passage.title} {h.passage.text}" for h in hits))
    return len(words & there) / max(1, len(words))


def _scored(question: str, hits: Sequence[Hit], retriever: Retriever) -> tuple[Hit, ...]:
    vector = retriever.encoder.encode_questions([question])[0]
    scores = retriever.encoder.encode_passages([hit.passage for hit in hits]) @ vector
    order = np.argsort(-scores)
    return _ranked([replace(hits[row], score=float(scores[row])) for row in order])


def _ranked(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))


def simple_cases(retriever: Retriever) -> Iterator[Case]:
    """Questions for articles of the starter corpus by their titles."""
    snapshot = retriever.index.current()
    rows = np.linspace(0, len(snapshot) - 1, TITLES).astype(int).tolist()
    for number, passage in enumerate(snapshot.take(rows)):
        question = SIMPLE_FORMS[number % len(SIMPLE_FORMS)].format(passage.title)
        hits = tuple(retriever.search(question, Request.k))
        if passage.title in {hit.passage.title for hit in hits}:
            yield Case(SIMPLE, question, hits, number % 2 == 1)


class RememberingEncoder(Encoder):
    """The starter's encoder, which encodes no text twice: cases share most of their passages."""

    def __init__(self) -> None:
        super().__init__("starter")
        self._known: dict[str, Vectors] = {}

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """See `Encoder`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, super().encode(new, progress), strict=True)
        return np.stack([self._known[text] for text in texts])


def pools(cases: Sequence[Case], encoder: Encoder, progress: Progress) -> list[EvidencePool]:
    """The evidence of each case, as the pipeline gathers it."""
    gathered = []
    for number, case in enumerate(cases, start=1):
        gathered.append(EvidencePool.gather(case.question, case.hits, encoder))
        progress(number, len(cases))
    return gathered
