"""Answers from anywhere, with their passages: one JSON object a line in, one out.

In: `{"id", "answer", "passages": [{"id", "title", "text"}]}`, a `"question"` and titles optional.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from rag_rt.answers import Claim, Sentence
from rag_rt.errors import InvalidRequest
from retriever import Hit, Passage

MAX_LINE = 16 * 2**20  # bytes
MAX_ANSWER = 100_000  # characters
MAX_QUESTION = 10_000  # characters
MAX_PASSAGES = 200
MAX_PASSAGE = 200_000  # characters


@dataclass(frozen=True, slots=True)
class Record:
    """An answer to be grounded in its passages; `id` is given back as it was."""

    id: str | int
    question: str
    answer: str
    hits: tuple[Hit, ...]


def read_records(file: IO[bytes], name: str) -> Iterator[Record]:
    """The records of a file, one in memory at a time; empty lines are passed over.

    Raises:
        InvalidRequest: a line is not such a record; the message names file and line.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        try:
            if len(line) > MAX_LINE:
                raise ValueError(f"the line is longer than {MAX_LINE:,} bytes")
            if line.strip():
                yield _record(json.loads(line.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(
                "record",
                f"{name}, line {number}: {error}; expected a JSON object "
                '{"id", "answer", "passages": [{"id", "title", "text"}]}',
            ) from None


def as_json(record: Record, sentences: Sequence[Sentence]) -> str:
    """The line of output for a record; sentences that say several things have `claims`."""
    rows = [
        {**_row(sentence), **({"claims": [*map(_row, sentence.claims)]} if sentence.claims else {})}
        for sentence in sentences
    ]
    return json.dumps({"id": record.id, "sentences": rows}, ensure_ascii=False)


def _row(found: Sentence | Claim) -> dict[str, Any]:
    return {
        "start": found.start,
        "end": found.end,
        "label": str(found.support),
        "probability": found.probability,
        "evidence": [asdict(evidence) for evidence in found.evidence],
    }


def _record(data: object) -> Record:
    if not isinstance(data, dict):
        raise ValueError(f"the line holds {_kind(data)}")
    name = data.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise ValueError(f"'id' is {_kind(name)}, not a text or a whole number")
    passages = data.get("passages")
    if not isinstance(passages, list):
        raise ValueError(f"'passages' is {_kind(passages)}, not a list")
    if len(passages) > MAX_PASSAGES:
        raise ValueError(f"there are {len(passages):,} passages; at most {MAX_PASSAGES} are read")
    hits = tuple(_hit(passage, rank) for rank, passage in enumerate(passages, start=1))
    if len({hit.passage.id for hit in hits}) < len(hits):
        raise ValueError("two passages have the same id")
    question = _text(data, "question", MAX_QUESTION, default="")
    return Record(name, question, _text(data, "answer", MAX_ANSWER), hits)


def _hit(data: object, rank: int) -> Hit:
    if not isinstance(data, dict):
        raise ValueError(f"passage {rank} is {_kind(data)}, not an object")
    name = _text(data, "id", MAX_QUESTION)
    title = _text(data, "title", MAX_QUESTION, default="")
    text = _text(data, "text", MAX_PASSAGE)
    return Hit(Passage(name, name, title, text, "", 0, len(text)), 0.0, rank, 0.0)


def _text(data: dict[str, Any], key: str, longest: int, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"'{key}' is {_kind(value)}, not a text")
    if len(value) > longest:
        raise ValueError(f"'{key}' has {len(value):,} characters; at most {longest:,} are read")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"'{key}' is not valid Unicode") from None
    return value


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "missing or null" if value is None else kinds.get(type(value), "a number")
