"""What a reader of the figures must know beside them.

Oddities are what the official scorer lets pass silently: they are warned of, or refused under
`--strict`. They leave the official figures as they are, and are listed because they change them in
a way that the author of the file is unlikely to have meant.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eval.errors import StrictRefusal
from eval.records import Record


class Oddity(StrEnum):
    """One kind of thing that passes silently."""

    EXTRA_GUESS = "no gold record has this id, so the guess counts for nothing"
    ID_NOT_STRING = "the id is no JSON string and is compared as its text"
    ID_PADDED = "the id has white space around it, which is ignored"
    ANSWER_NOT_STRING = "the answer is no JSON string and is scored as its text (null: None)"
    ANSWER_EMPTY = "the answer is empty and scores 0"
    PROVENANCE_NOT_LIST = 'the provenance is "" or {} and counts as an empty list'
    PAGE_MISSING = "a provenance entry has no wikipedia_id"
    PAGE_NOT_STRING = "a wikipedia_id is no JSON string and is compared as its text (null: None)"
    PAGE_EMPTY = "a wikipedia_id is empty, which is a page like any other"
    GOLD_ANSWER_EMPTY = "a gold answer is empty or null and is left out"
    GOLD_ANSWER_MISSING = "the record has no gold answer, so any guess but an empty one is refused"
    GOLD_EVIDENCE_EMPTY = "an empty gold provenance list counts as evidence that no guess can find"


@dataclass(slots=True)
class Finding:
    """One kind of oddity in one file: where it stands first, and how often it was found."""

    oddity: Oddity
    first: str
    count: int = 0

    def __str__(self) -> str:
        """Say it in one line."""
        often = "" if self.count == 1 else f" (and {self.count - 1} more)"
        return f"{self.first}: {self.oddity}{often}"


class Remarks:
    """What was noticed in two files while they were scored.

    `derived_sources` counts the `meta.source` of gold records that KILT did not publish;
    `deadly_ids` names the records that the official scorer would die of (RecursionError).
    """

    def __init__(self, *, strict: bool) -> None:
        """Refuse the first oddity if `strict`, else count them."""
        self.derived_sources: Counter[str] = Counter()
        self.deadly_ids: list[Any] = []
        self._strict = strict
        self._findings: dict[tuple[str, Oddity], Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The oddities, in the order in which each kind was found first."""
        return tuple(self._findings.values())

    def see_extra(self, guesses: Iterable[Record]) -> None:
        """Note guesses that no gold record has.

        Raises:
            StrictRefusal: there is one, and `strict`.
        """
        for guess in guesses:
            self._note(guess, [Oddity.EXTRA_GUESS])

    def see(self, guess: Record, gold: Record) -> None:
        """Note what is odd in a pair that the official scorer accepts.

        Raises:
            StrictRefusal: something is, and `strict`.
        """
        self._note(guess, guess_oddities(guess))
        self._note(gold, _gold_oddities(gold))
        if source := derived_source(gold):
            self.derived_sources[source] += 1

    def _note(self, record: Record, oddities: Iterable[Oddity]) -> None:
        for oddity in oddities:
            if self._strict:
                remedy = "mend the record, or score without --strict"
                raise StrictRefusal(record.path, record.line, record.id, oddity, remedy)
            first = f"{record.path}, line {record.line}, record {record.id!r}"
            key = (str(record.path), oddity)
            self._findings.setdefault(key, Finding(oddity, first)).count += 1


def derived_source(gold: Record) -> str | None:
    """The `meta.source` of a gold record; the records of KILT's own files have none."""
    meta = gold.data.get("meta")
    source = meta.get("source") if isinstance(meta, dict) else None
    return None if source is None else str(source)


def guess_oddities(record: Record) -> Iterator[Oddity]:
    """List what the official scorer overlooks in a guess that it accepts."""
    yield from _id_oddities(record)
    for output in record.data["output"]:
        answer = output.get("answer", "none")
        if not isinstance(answer, str):
            yield Oddity.ANSWER_NOT_STRING
        elif not answer.strip():
            yield Oddity.ANSWER_EMPTY
        yield from _provenance_oddities(output)


def _gold_oddities(record: Record) -> Iterator[Oddity]:
    """List what the official scorer overlooks in a gold record that it accepts."""
    yield from _id_oddities(record)
    answers = [output["answer"] for output in record.data["output"] if "answer" in output]
    kept = [answer for answer in answers if answer and answer.strip()]
    yield from [Oddity.GOLD_ANSWER_EMPTY] * (len(answers) - len(kept))
    if not kept:
        yield Oddity.GOLD_ANSWER_MISSING
    for output in record.data["output"]:
        yield from _provenance_oddities(output)
        if not output.get("provenance", "none"):
            yield Oddity.GOLD_EVIDENCE_EMPTY


def _id_oddities(record: Record) -> Iterator[Oddity]:
    if not isinstance(record.data["id"], str):
        yield Oddity.ID_NOT_STRING
    elif record.data["id"] != record.id:
        yield Oddity.ID_PADDED


def _provenance_oddities(output: dict[str, Any]) -> Iterator[Oddity]:
    provenance = output.get("provenance", [])
    if not isinstance(provenance, list):
        yield Oddity.PROVENANCE_NOT_LIST
    for entry in provenance:
        if "wikipedia_id" not in entry:
            yield Oddity.PAGE_MISSING
        elif not isinstance(entry["wikipedia_id"], str):
            yield Oddity.PAGE_NOT_STRING
        elif not entry["wikipedia_id"].strip():
            yield Oddity.PAGE_EMPTY
