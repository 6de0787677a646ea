"""Answers to a KILT question file, as the guess file that the scorer and the leaderboard read.

Each answer is appended to `OUT.partial` as soon as it is written; a run that is stopped, by SIGKILL
too, goes on from there. The guess file appears whole, in the order of the questions, with the
details of its answers beside it (`eval.runs`).

Batches are cut in the same places whatever was answered before, because the numbers of a model
depend on what shares a batch with a question. A batch that was stopped half-way is searched for
whole again, and read whole again unless its answers are independent; what was lost of it alone is
kept. So a run that was stopped ends with the same guesses.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from eval.errors import BadQuestion, OutputNotWritten, PartialMismatch
from eval.records import Record, RecordFile, standing_twice
from eval.runs import Details, details_path, differences, write_details
from eval.systems import Reading, System
from rag_rt.errors import InvalidRequest
from rag_rt.requests import Request
from retriever import Hit
from retriever.artefacts import atomic_write
from retriever.encoders import Progress

Line = dict[str, Any]


def predict(
    system: System, questions: Sequence[Record], out: Path, *, batch_size: int, progress: Progress
) -> None:
    """Answer every question.

    Args:
        system: what answers.
        questions: see `read_questions`.
        out: the guess file to write; `output[0]` holds the answer and where its passages stand.
        batch_size: how many questions are retrieved for and answered together.
        progress: told how many questions are answered.

    Raises:
        OutputNotWritten: `out` is there already, or another process is writing it.
        PartialMismatch: a stopped run was made with other settings or questions.
    """
    require_free(out)
    settings = {**settings_of(system), "batch_size": batch_size}
    head = {"settings": settings, "questions": _digest(questions)}
    partial = out.with_name(f"{out.name}.partial")
    with _claimed(partial) as file:
        require_free(out)  # another process may have finished it meanwhile
        done = _resume(file, partial, head)
        progress(len(done), len(questions))
        if not done:
            file.truncate(0)
            _append(file, head)
        for first in range(0, len(questions), batch_size):
            batch = questions[first : first + batch_size]
            for record, reading in _answers(system, batch, frozenset(done)):
                done[record.id] = _line(record, reading, wikipedia_ids=knows_ids(system))
                _append(file, done[record.id])
                progress(len(done), len(questions))
        _write_whole(out, settings, [done[record.id] for record in questions])
        partial.unlink()


def read_questions(path: Path) -> list[Record]:
    """The questions of KILT JSON lines, of which `id` and `input` are read.

    Raises:
        UnreadableFile: the file cannot be read.
        BadRecord: there is none, one cannot be asked, or an id stands twice.
    """
    with closing(RecordFile(path)) as file:
        records = list(file)
    if not records:
        raise BadQuestion(path, 1, None, "the file is empty", "name one with a question on a line")
    seen: set[str] = set()
    for record in records:
        _check_question(record)
        if record.id in seen:
            raise standing_twice(record)
        seen.add(record.id)
    return records


def require_free(out: Path) -> None:
    """Refuse a name that no guess file can be written to, before anything is computed.

    Raises:
        OutputNotWritten: something is there, or its directory cannot be made.
    """
    if out.exists():
        raise OutputNotWritten(f"{out} is there already; name another --out, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> OutputNotWritten:
    reason = error.strerror or str(error)
    return OutputNotWritten(f"{out} cannot be written: {reason}; name another --out")


@contextmanager
def _claimed(partial: Path) -> Iterator[IO[bytes]]:
    """The file of a run, open for this process alone."""
    try:
        file = partial.open("a+b")
    except OSError as error:
        raise _unwritable(partial, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputNotWritten(
                f"another process is writing {partial}; wait for it, or name another --out"
            ) from None
        yield file


def _answers(
    system: System, batch: Sequence[Record], done: Container[str]
) -> Iterator[tuple[Record, Reading]]:
    """The answers that a batch lacks, as they come."""
    if all(record.id in done for record in batch):
        return
    questions = [record.data["input"] for record in batch]
    passages = system.search(questions)
    rows = [
        row
        for row, record in enumerate(batch)
        if record.id not in done or not system.reader.independent
    ]
    readings = system.reader.read([questions[row] for row in rows], [passages[row] for row in rows])
    for row, reading in zip(rows, readings, strict=True):
        if batch[row].id not in done:
            yield batch[row], reading


def settings_of(system: System) -> dict[str, Any]:
    """What the answers depend on: a stopped run goes on only with the same."""
    retriever = None if system.searcher is None else dict(system.searcher.settings)
    passages = 0 if system.searcher is None else system.k
    return {"reader": dict(system.reader.settings), "retriever": retriever, "k": passages}


def knows_ids(system: System) -> bool:
    """Whether the pages of a system's passages are known by `wikipedia_id`."""
    return system.searcher is not None and bool(system.searcher.settings["index"]["wikipedia_ids"])


def _check_question(record: Record) -> None:
    question = record.data.get("input")
    if not isinstance(question, str):
        raise BadQuestion(
            record.path, record.line, record.id, "it has no 'input' text", "add the question"
        )
    try:
        Request(question)
    except InvalidRequest as error:
        raise BadQuestion(
            record.path, record.line, record.id, str(error), "correct or remove the record"
        ) from error


def _digest(records: Sequence[Record]) -> str:
    """SHA-256 of the ids and questions, in order."""
    asked = [[record.id, record.data["input"]] for record in records]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _resume(file: IO[bytes], partial: Path, head: Mapping[str, Any]) -> dict[str, Line]:
    """The lines of a stopped run by id; the line it was writing when it ended is cut off."""
    file.seek(0)
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    file.truncate(len(whole))
    try:
        # At LF alone: JSON escapes it, and a text may hold every other kind of line end.
        begun_with, *lines = [json.loads(line) for line in whole.split(b"\n")[:-1]] or [head]
        done = {line["details"]["id"]: line for line in lines}
        others = [
            f"{name} was {before!r}, is {now!r}"
            for name, before, now in differences(begun_with["settings"], head["settings"])
        ]
        if begun_with["questions"] != head["questions"]:
            others.append("the questions are others")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise PartialMismatch(
            f"{partial} is damaged: it is no stopped run; remove it to begin anew"
        ) from None
    if others:
        raise PartialMismatch(
            f"{partial} was begun with other settings or questions ({'; '.join(others)}); go on "
            "with those, or remove it to begin anew"
        )
    return done


def _append(file: IO[bytes], content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _line(record: Record, reading: Reading, *, wikipedia_ids: bool) -> Line:
    """A guess as KILT reads it, and the details of it."""
    provenance = [_provenance(hit, wikipedia_ids=wikipedia_ids) for hit in reading.hits]
    details = Details(
        record.id, reading.hits, reading.sentences, reading.usage, reading.timings
    ).as_json()
    guess = {
        "id": record.id,
        "input": record.data["input"],
        "output": [{"answer": reading.text, "provenance": provenance}],
    }
    return {"guess": guess, "details": details}


def _provenance(hit: Hit, *, wikipedia_ids: bool) -> dict[str, Any]:
    """Where a passage stands: the page, and paragraphs and characters where the index has them."""
    passage = hit.passage
    entry: dict[str, Any] = {"wikipedia_id": passage.page_id} if wikipedia_ids else {}
    entry["title"] = passage.title
    if passage.start_paragraph_id is not None:
        entry["start_paragraph_id"] = passage.start_paragraph_id
        entry["start_character"] = passage.start_character
        entry["end_paragraph_id"] = passage.end_paragraph_id
        entry["end_character"] = passage.end_character
    return entry


def _write_whole(out: Path, settings: Mapping[str, Any], lines: Sequence[Line]) -> None:
    """The details first: a guess file under its name has them."""
    write_details(details_path(out), settings, (line["details"] for line in lines))
    with atomic_write(out) as file:
        for line in lines:
            file.write(json.dumps(line["guess"]).encode() + b"\n")
