"""Record files and runs, written from Python values."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eval.runs import Details, details_path, write_details
from rag_rt.answers import Evidence, Sentence, Support
from retriever import Hit
from retriever.sentences import sentence_spans
from tests.conftest import make_hit


def record_file(path: Path, records: Iterable[Any]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def run_files(path: Path, answers: Sequence[tuple[str, Sequence[Hit]]]) -> Path:
    """Write a guess file and its details: the answer to question n, and the hits it is from.

    A sentence of an answer is supported if it stands in a passage word for word.
    """
    guesses = [
        {"id": str(n), "output": [{"answer": answer, "provenance": _provenance(hits)}]}
        for n, (answer, hits) in enumerate(answers)
    ]
    lines = [
        Details(str(n), tuple(hits), _sentences(answer, hits)).as_json()
        for n, (answer, hits) in enumerate(answers)
    ]
    write_details(details_path(path), {"reader": {"seed": 0}, "k": 1}, lines)
    return record_file(path, guesses)


def hit(title: str, text: str) -> Hit:
    return make_hit(text, title=title)


def _provenance(hits: Sequence[Hit]) -> list[dict[str, str]]:
    return [{"wikipedia_id": hit.passage.page_id, "title": hit.passage.title} for hit in hits]


def _sentences(answer: str, hits: Sequence[Hit]) -> tuple[Sentence, ...]:
    return tuple(_grounded(answer, start, end, hits) for start, end in sentence_spans(answer))


def _grounded(answer: str, start: int, end: int, hits: Sequence[Hit]) -> Sentence:
    quote = answer[start:end]
    for hit in hits:
        if (at := hit.passage.text.find(quote)) >= 0:
            evidence = Evidence(hit.passage.id, at, at + len(quote), quote, 1.0)
            return Sentence(start, end, Support.SUPPORTED, (evidence,))
    return Sentence(start, end, Support.UNSUPPORTED, ())
