"""Questions with the texts that answer them, from JSON lines, for training a retriever.

A line is a record of the KILT schema, whose answers are the positives (c-REALM's objective: the
question finds its own answer, Krishna et al. 2021, §2.1) and whose provenance tells their pages, or
an object with `question`, `positive` and, where there are some, `negatives`. These are texts, or
objects with `text`, `title` and `page_id` of which only the text must be there.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retriever.errors import SourceError
from retriever.sources.inputs import file_input, lines, reading

EXPECTED = (
    "expected a KILT record with 'input' and answers in 'output', or an object with 'question', "
    "'positive' and perhaps 'negatives'"
)


class Text(NamedTuple):
    """What a question is to find: a passage with the title of its page, or an answer without."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the texts that answer it, and texts that do not.

    `pages` are the ids and the titles of the pages that answer it, as far as they are known.
    """

    question: str
    positives: tuple[Text, ...]
    negatives: tuple[Text, ...] = ()
    pages: frozenset[str] = frozenset()


def read_examples(path: Path) -> list[Example]:
    """All examples of a file of JSON lines, decompressed on the way.

    Raises:
        SourceError: the file cannot be read or holds no line, or a line is no example; the message
            names the line.
    """
    examples: list[Example] = []
    with reading(file_input(path)) as stream:
        for number, line in lines(stream):
            try:
                examples.append(parse_example(json.loads(line or b"")))
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}, line {number}: {error}; {EXPECTED}") from error
    if not examples:
        raise SourceError(f"{path} is empty; {EXPECTED}, one a line")
    return examples


def parse_example(record: Any) -> Example:
    """The example that a parsed line is.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if "question" in record:
        return _plain_example(record)
    question = _words(record.get("input"), "'input'")
    outputs = record.get("output")
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        raise ValueError("'output' is not a list of objects")
    answers = [_words(o["answer"], "'answer'") for o in outputs if "answer" in o]
    if not answers:
        raise ValueError("the record has no answer")
    return Example(
        question,
        tuple(Text("", answer) for answer in dict.fromkeys(answers)),
        pages=frozenset(name for output in outputs for name in _provenance_pages(output)),
    )


def _plain_example(record: dict[str, Any]) -> Example:
    positive, pages = _text(record.get("positive"), "'positive'")
    negatives = record.get("negatives", [])
    if not isinstance(negatives, list):
        raise ValueError("'negatives' is not a list")
    return Example(
        _words(record["question"], "'question'"),
        (positive,),
        tuple(_text(negative, "a negative")[0] for negative in negatives),
        pages,
    )


def _text(value: Any, name: str) -> tuple[Text, frozenset[str]]:
    if not isinstance(value, dict):
        return Text("", _words(value, name)), frozenset()
    title = value.get("title", "")
    if not isinstance(title, str):
        raise ValueError(f"the title of {name} is not text")
    page = str(value.get("page_id", ""))
    return Text(title, _words(value.get("text"), name)), frozenset({title, page} - {""})


def _words(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is missing, empty or not text")
    return value


def _provenance_pages(output: dict[str, Any]) -> Iterator[str]:
    provenance = output.get("provenance", [])
    if not isinstance(provenance, list) or not all(isinstance(p, dict) for p in provenance):
        raise ValueError("'provenance' is not a list of objects")
    for place in provenance:
        yield from (str(place[key]) for key in ("wikipedia_id", "title") if place.get(key))


def hold_out(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and a random `share` of all to measure by, at least one of each.

    Raises:
        SourceError: nothing is left to train on.
    """
    count = max(1, round(share * len(examples)))
    order = np.random.default_rng(seed).permutation(len(examples))
    held_out = [examples[row] for row in sorted(order[:count])]
    rest = [examples[row] for row in sorted(order[count:])]
    return without_overlap(rest, held_out), held_out


def without_overlap(examples: Sequence[Example], held_out: Sequence[Example]) -> list[Example]:
    """The examples that share no page, no question and no positive with those held out.

    Raises:
        SourceError: none is left.
    """
    pages = {page for example in held_out for page in example.pages}
    texts = {text for example in held_out for text in example.positives}
    questions = {example.question for example in held_out}
    kept = [
        example
        for example in examples
        if example.question not in questions
        and pages.isdisjoint(example.pages)
        and texts.isdisjoint(example.positives)
    ]
    if not kept:
        raise SourceError(
            f"of {len(examples)} examples none is left to train on, since all share a page, a "
            f"question or an answer with the {len(held_out)} held out; add data of other pages"
        )
    return kept


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Questions, and a pool of texts in which each has relevant ones (Q, P)."""

    questions: list[str]
    pool: list[Text]
    relevant: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "HeldOut":
        """The pool of everything that the examples call positive or negative, each text once."""
        texts = [text for e in examples for text in (*e.positives, *e.negatives)]
        columns = {text: column for column, text in enumerate(dict.fromkeys(texts))}
        relevant = np.zeros((len(examples), len(columns)), dtype=np.bool_)
        for row, example in enumerate(examples):
            relevant[row, [columns[text] for text in example.positives]] = True
        return cls([e.question for e in examples], list(columns), relevant)
