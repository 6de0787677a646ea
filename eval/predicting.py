"""Answers to a KILT question file, as the guess file that the scorer and the leaderboard read.

Each answer is appended to `OUT.partial` as soon as it is written; a run that is stopped, by SIGKILL
too, goes on from there. The guess file appears whole, in the order of the questions.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from eval.errors import BadQuestion, OutputNotWritten, PartialMismatch
from eval.records import Record, RecordFile
from rag_rt.answerer import Answerer
from rag_rt.answers import Answer
from rag_rt.errors import InvalidRequest
from rag_rt.requests import Request
from retriever.artefacts import atomic_write
from retriever.encoders import Progress


@dataclass(frozen=True, slots=True)
class Options:
    """What every question is asked with."""

    k: int = Request.k
    max_tokens: int = Request.max_tokens
    seed: int = 0


def predict(
    answerer: Answerer, questions: Path, out: Path, options: Options, progress: Progress
) -> int:
    """Answer every question of a KILT file; returns their number.

    Args:
        answerer: the whole pipeline.
        questions: KILT JSON lines, of which `id` and `input` are read.
        out: the guess file to write; `output[0]` holds the answer and the retrieved pages.
        options: what every question is asked with.
        progress: told how many questions are answered.

    Raises:
        OutputNotWritten: `out` is there already.
        BadRecord: a line is no question that can be asked.
        PartialMismatch: a stopped run was made with other settings.
    """
    if out.exists():
        raise OutputNotWritten(f"{out} is there already; name another --out, or remove it")
    with closing(RecordFile(questions)) as records:
        requests = [(record, _request(record, options)) for record in records]
    settings = _settings(answerer, options)
    partial = out.with_name(f"{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    done = _resume(partial, settings)
    progress(len(done), len(requests))
    with partial.open("a", encoding="utf-8") as file:
        if not done:
            file.truncate(0)
            _append(file, settings)
        for record, request in requests:
            if record.id not in done:
                done[record.id] = _guess(answerer, record, answerer.answer(request))
                _append(file, done[record.id])
                progress(len(done), len(requests))
    with atomic_write(out) as whole:
        for record, _ in requests:
            whole.write(json.dumps(done[record.id], ensure_ascii=False).encode() + b"\n")
    partial.unlink()
    return len(requests)


def _request(record: Record, options: Options) -> Request:
    question = record.data.get("input")
    if not isinstance(question, str):
        raise BadQuestion(
            record.path, record.line, record.id, "it has no 'input' text", "add the question"
        )
    try:
        return Request(question, k=options.k, max_tokens=options.max_tokens, seed=options.seed)
    except InvalidRequest as error:
        raise BadQuestion(
            record.path, record.line, record.id, str(error), "correct or remove the record"
        ) from error


def _settings(answerer: Answerer, options: Options) -> dict[str, Any]:
    """What the answers depend on: a stopped run goes on only with the same."""
    return {
        "generator": answerer.generator.name,
        "index": dict(answerer.retriever.index.manifest.settings),
        "k": options.k,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
    }


def _resume(partial: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The guesses of a stopped run by id; the line it was writing when it ended is cut off."""
    if not partial.exists():
        return {}
    content = partial.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(partial, len(whole))
    lines: Iterator[dict[str, Any]] = (json.loads(line) for line in whole.splitlines())
    begun_with = next(lines, settings)
    if begun_with != settings:
        raise PartialMismatch(
            f"{partial} was begun with other settings ({begun_with}); "
            "go on with those, or remove it to begin anew"
        )
    return {guess["id"]: guess for guess in lines}


def _append(file: IO[str], content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content, ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())


def _guess(answerer: Answerer, record: Record, answer: Answer) -> dict[str, Any]:
    """A KILT guess; pages carry a `wikipedia_id` only where the index knows it."""
    knows_ids = answerer.retriever.index.manifest.settings["wikipedia_ids"]
    pages = {hit.passage.page_id: hit.passage.title for hit in answer.hits}
    provenance = [
        {"wikipedia_id": page, "title": title} if knows_ids else {"title": title}
        for page, title in pages.items()
    ]
    return {
        "id": record.id,
        "input": record.data["input"],
        "output": [{"answer": answer.text, "provenance": provenance}],
    }
