"""What a guess and a gold record say to the official scorer.

Scoring gets what it needs from a record here, and what the official programs refuse or die of is
refused here. One thing is stricter: a list or object that is of another JSON type is refused even
where the official code would happen to get through it.

Source: `kilt/eval_downstream.py` and `kilt/eval_retrieval.py` of facebookresearch/KILT at 2664322.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eval.errors import BadGold, BadGuess, BadRecord
from eval.records import Record, json_type

Output = dict[str, Any]
Passage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a guess retrieved: its distinct page ids in order, and its provenance as given."""

    pages: tuple[str, ...]
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess: its stripped answer, "" where it has none, and what it retrieved."""

    answer: str
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold record.

    `pages` holds the distinct page ids of every output, the basis of R-precision; `evidence_sets`
    those of the outputs that have provenance, without repeats, the basis of recall.
    """

    question: str
    answers: tuple[str, ...]
    titles: tuple[str, ...]
    pages: tuple[tuple[str, ...], ...]
    evidence_sets: tuple[frozenset[str], ...]


def read_guess(record: Record) -> Guess:
    """Take the one answer and the ranking of a guess, as `eval_downstream` does.

    Raises:
        BadGuess: not exactly one output, no `answer` in it, or broken provenance.
    """
    outputs = _outputs(record, BadGuess)
    if len(outputs) != 1 or "answer" not in outputs[0]:
        found = f"{len(outputs)} outputs" if len(outputs) != 1 else "an output without 'answer'"
        raise _refusal(
            record,
            BadGuess,
            f"a guess needs exactly one output, with an 'answer'; found {found}",
            'write "output": [{"answer": "...", "provenance": [...]}]',
        )
    return Guess(str(outputs[0]["answer"]).strip(), _ranking(record, outputs[0]))


def read_ranking(record: Record) -> Ranking:
    """Take the ranking of a guess, as `eval_retrieval` does: from its only output with provenance.

    Raises:
        BadGuess: not exactly one output has the key `provenance`, or it is broken.
    """
    outputs = [output for output in _outputs(record, BadGuess) if "provenance" in output]
    if len(outputs) != 1:
        raise _refusal(
            record,
            BadGuess,
            f"exactly one output needs the key 'provenance'; {len(outputs)} have it",
            "give the retrieved pages in one output",
        )
    return _ranking(record, outputs[0])


def read_gold(record: Record) -> Gold:
    """Take question, answers, titles and pages of a gold record.

    Raises:
        BadGold: a part is missing or of a type that the official scorer dies of.
    """
    question = record.data.get("input")
    if not isinstance(question, str):
        found = json_type(question) if "input" in record.data else "nothing"
        problem = f"'input', the question, must be a string; found {found}"
        raise _refusal(record, BadGold, problem, "add the question")
    outputs = _outputs(record, BadGold)
    if not outputs:
        raise _refusal(record, BadGold, "'output' is empty", "add an answer or provenance")
    provenance = [_provenance(record, output, BadGold) for output in outputs]
    evidence = (
        frozenset(_page(entry) if "wikipedia_id" in entry else "" for entry in entries)
        for output, entries in zip(outputs, provenance, strict=True)
        if "provenance" in output
    )
    titles = (entry.get("title") for entries in provenance for entry in entries)
    return Gold(
        question,
        _gold_texts(record, "answer", (output.get("answer") for output in outputs)),
        _gold_texts(record, "title", titles),
        tuple(map(_pages, provenance)),
        tuple(dict.fromkeys(evidence)),
    )


def _outputs(record: Record, refusal: type[BadRecord]) -> list[Output]:
    outputs = record.data.get("output")
    if isinstance(outputs, list) and all(isinstance(output, dict) for output in outputs):
        return outputs
    found = "nothing" if "output" not in record.data else json_type(outputs)
    problem = f"'output' must be a list of objects; found {found}"
    if isinstance(outputs, list):
        problem = "'output' must be a list of objects; an element is of another type"
    raise _refusal(record, refusal, problem, 'write "output": [{...}]')


def _provenance(record: Record, output: Output, refusal: type[BadRecord]) -> list[Passage]:
    """The provenance entries of an output; "" and {} count as an empty list, officially too."""
    provenance = output.get("provenance", [])
    if provenance in ("", {}):
        return []
    if isinstance(provenance, list) and all(isinstance(entry, dict) for entry in provenance):
        return provenance
    problem = f"'provenance' must be a list of objects; found {json_type(provenance)}"
    if isinstance(provenance, list):
        problem = "'provenance' must be a list of objects; an entry is of another type"
    remedy = 'write "provenance": [{"wikipedia_id": "..."}], or leave the key out'
    raise _refusal(record, refusal, problem, remedy)


def _ranking(record: Record, output: Output) -> Ranking:
    passages = _provenance(record, output, BadGuess)
    return Ranking(_pages(passages), tuple(passages))


def _page(entry: Passage) -> str:
    return str(entry["wikipedia_id"]).strip()


def _pages(entries: Sequence[Passage]) -> tuple[str, ...]:
    """The distinct page ids in order; entries without one are skipped."""
    return tuple(dict.fromkeys(_page(entry) for entry in entries if "wikipedia_id" in entry))


def _gold_texts(record: Record, key: str, values: Iterator[Any]) -> tuple[str, ...]:
    """The distinct stripped texts; whatever is false in Python (null, "", 0) is skipped."""
    texts: dict[str, None] = {}
    for value in filter(None, values):
        if not isinstance(value, str):
            problem = f"a gold '{key}' must be a string; found {json_type(value)}"
            raise _refusal(record, BadGold, problem, f"write the {key} as a string")
        if text := value.strip():
            texts[text] = None
    return tuple(texts)


def _refusal(record: Record, kind: type[BadRecord], problem: str, remedy: str) -> BadRecord:
    return kind(record.path, record.line, record.id, problem, remedy)
