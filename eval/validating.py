"""Whether a guess file can be submitted: everything that is wrong with it, not the first alone.

The submission is the guess file itself. The order of its lines is no matter: the official scorer
puts guesses into the order of the gold records.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from eval.errors import BadRecord
from eval.interpretation import read_guess
from eval.records import Record, RecordFile
from eval.remarks import Oddity, guess_oddities


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `line` counts from 1, `record_id` is None where there is none."""

    path: Path
    line: int
    record_id: str | None
    text: str

    def __str__(self) -> str:
        """Say it in one line."""
        record = "" if self.record_id is None else f", record {self.record_id!r}"
        return f"{self.path}, line {self.line}{record}: {self.text}"


def find_problems(guess: Path, questions: Iterable[Record]) -> Iterator[Problem]:
    """What keeps a guess file from being the answers to a question file, in the order of lines.

    Args:
        guess: the guess file.
        questions: records, of which `id` and `input` are read.

    Raises:
        UnreadableFile: the guess file cannot be read.
    """
    asked = {record.id: record for record in questions}
    answered: dict[str, int] = {}
    with closing(RecordFile(guess)) as file:
        for ordinal in range(len(file)):
            try:
                record = file[ordinal]
            except BadRecord as error:
                yield Problem(error.path, error.line, error.record_id, error.problem)
                continue
            before = answered.setdefault(record.id, record.line)
            texts = [*_about_the_id(record, asked, before), *_about_the_output(record)]
            for text in texts:
                yield Problem(guess, record.line, record.id, text)
    for record in asked.values():
        if record.id not in answered:
            yield Problem(record.path, record.line, record.id, f"{guess} has no guess for this id")


def _about_the_id(record: Record, asked: dict[str, Record], before: int) -> Iterator[str]:
    if before != record.line:
        yield f"this id stands on line {before} already"
    if record.id not in asked:
        yield Oddity.EXTRA_GUESS
    elif record.data.get("input") not in (None, asked[record.id].data.get("input")):
        yield "its 'input' is not the question that has this id"


def _about_the_output(record: Record) -> Iterator[str]:
    try:
        read_guess(record)
    except BadRecord as error:
        yield error.problem
        return
    yield from dict.fromkeys(guess_oddities(record))  # each once, however many entries have it
