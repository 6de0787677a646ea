"""The questions of a KILT file with their gold answers, as the diagnoses read them."""

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.interpretation import read_gold
from eval.records import RecordFile
from eval.remarks import derived_source
from eval.score_reports import DERIVED_NOTE, SOURCES_NAMED
from retriever.encoders import Progress

_TOLD_EVERY = 1000  # records


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its distinct stripped gold answers, in the order of the file.

    `source` is the `meta.source` of a record that KILT did not publish, else None.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    has_equal_answers: bool
    source: str | None


def read_questions(path: Path, progress: Progress | None = None) -> list[Question]:
    """Read every question of a KILT file; `progress` is told how many are read.

    Raises:
        UnreadableFile: the file cannot be opened or read.
        BadRecord: the official scorer would refuse a record.
    """
    questions = []
    with closing(RecordFile(path)) as records:
        for ordinal, record in enumerate(records):
            if progress and ordinal % _TOLD_EVERY == 0:
                progress(ordinal, len(records))
            gold = read_gold(record)
            given = [output.get("answer") for output in record.data["output"]]
            written = sum(bool(answer and answer.strip()) for answer in given)
            questions.append(
                Question(
                    record.id,
                    gold.question,
                    gold.answers,
                    written > len(gold.answers),
                    derived_source(record),
                )
            )
    return questions


def longest(answers: Iterable[str]) -> str:
    """The answer with most words between white space; of equals, the first."""
    return max(answers, key=lambda answer: len(answer.split()))


def derived_remark(questions: Iterable[Question]) -> dict[str, Any]:
    """The keys `note` and `derived_sources`, which every report of figures carries."""
    sources = Counter(question.source for question in questions if question.source is not None)
    return {
        "note": DERIVED_NOTE if sources else None,
        "derived_sources": dict(sources.most_common(SOURCES_NAMED)),
    }
