"""What a run leaves on disk: the guess file, and beside it what the answers were made of.

`guess.jsonl` is what KILT reads. `guess.details.jsonl` holds what KILT has no place for. Its first
line says how the run was made:

    {"format": "rag-rt run details", "version": 1, "settings": {...}}

and then comes one line for each guess, in the order of the guess file:

    {"id", "passages": [{"id", "page_id", "title", "text", "url", "start", "end", "score", "rank"}],
     "sentences": [{"start", "end", "support", "evidence": [...]}] or null where nothing was
     grounded, "usage": {...} or null, "timings": {...} or null}

For the writer of a run: keep `Details.of(record.id, answer).as_json()` (or `Details(...)` for a
system without an `Answer`) beside each guess, and at the end call
`write_details(details_path(out), settings, lines)` before the guess file appears under its name.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from eval.errors import BadDetails, UnreadableFile
from rag_rt.answers import Answer, Claim, Evidence, FinishReason, Sentence, Support, Timings, Usage
from retriever import Hit, Passage
from retriever.artefacts import atomic_write

FORMAT = "rag-rt run details"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Details:
    """What one answer was made of.

    `id` is the record's, as text without white space around it (`eval.records.Record.id`). A
    system that retrieves nothing has no hits; None stands for what a system does not tell.
    """

    id: str
    hits: tuple[Hit, ...]
    sentences: tuple[Sentence, ...] | None = None
    usage: Usage | None = None
    timings: Timings | None = None

    @classmethod
    def of(cls, record_id: str, answer: Answer) -> Self:
        """The details of an answer of the pipeline."""
        return cls(record_id, answer.hits, answer.sentences, answer.usage, answer.timings)

    def as_json(self) -> dict[str, Any]:
        """One line of the file."""
        return {
            "id": self.id,
            "passages": [
                {
                    **asdict(hit.passage),
                    "score": hit.score,
                    "rank": hit.rank,
                    "similarity": hit.similarity,
                }
                for hit in self.hits
            ],
            "sentences": None if self.sentences is None else [asdict(s) for s in self.sentences],
            "usage": None if self.usage is None else asdict(self.usage),
            "timings": None if self.timings is None else asdict(self.timings),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Read one line of the file.

        Raises:
            KeyError, TypeError, ValueError: it is no such line.
        """
        sentences, usage, timings = line["sentences"], line["usage"], line["timings"]
        return cls(
            id=str(line["id"]),
            hits=tuple(_hit(**passage) for passage in line["passages"]),
            sentences=None if sentences is None else tuple(_sentence(**s) for s in sentences),
            usage=None if usage is None else _usage(**usage),
            timings=None if timings is None else Timings(**timings),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A guess file, and what its answers were made of: `details` by the id of the record."""

    guess: Path
    settings: Mapping[str, Any]
    details: Mapping[str, Details]


def flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of any depth as names and values: `reader.seed` for the seed of the reader."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Names and both values of the settings that differ; None where one has none."""
    left, right = dict(flat(before)), dict(flat(now))
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield name, left.get(name), right.get(name)


def details_path(guess: Path) -> Path:
    """Where the details of a guess file stand: `guess.details.jsonl` beside `guess.jsonl`."""
    return guess.with_name(f"{guess.name.removesuffix('.jsonl')}.details.jsonl")


def write_details(
    path: Path, settings: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]
) -> None:
    """Write a details file whole.

    Args:
        path: `details_path` of the guess file.
        settings: how the run was made, for people who compare runs: any JSON values.
        lines: `Details.as_json` of each guess, in the order of the guess file.
    """
    head = {"format": FORMAT, "version": VERSION, "settings": settings}
    with atomic_write(path) as file:
        for line in (head, *lines):
            file.write(json.dumps(line).encode() + b"\n")


def read_run(guess: Path) -> Run:
    """Read what the answers of a guess file were made of; a run without details has none.

    Raises:
        UnreadableFile: the details file cannot be read.
        BadDetails: it is no details file of this version, or a line of it is broken.
    """
    path = details_path(guess)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Run(guess, {}, {})
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFile(f"{path} cannot be read: {reason}; check its permissions") from error
    # At LF alone: JSON escapes it, and a text may hold every other kind of line end.
    head, *lines = content.rstrip(b"\n").split(b"\n")
    settings = _settings(path, head)
    details = [_details(path, number, line) for number, line in enumerate(lines, start=2)]
    return Run(guess, settings, {detail.id: detail for detail in details})


def _settings(path: Path, head: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(head)
        kind, settings = (content["format"], content["version"]), content["settings"]
    except (ValueError, TypeError, KeyError):
        raise BadDetails(path, 1, "it does not begin as a details file does") from None
    if kind != (FORMAT, VERSION) or not isinstance(settings, dict):
        raise BadDetails(path, 1, f"expected {FORMAT!r}, version {VERSION}; found {kind}")
    return settings


def _details(path: Path, number: int, line: bytes) -> Details:
    try:
        return Details.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError) as error:
        raise BadDetails(path, number, f"the line is broken ({error!r})") from None


def _hit(score: float, rank: int, similarity: float | None = None, **passage: Any) -> Hit:
    # Runs that name no similarity are older than other scores than it.
    return Hit(Passage(**passage), score, rank, score if similarity is None else similarity)


def _sentence(
    start: int,
    end: int,
    support: str,
    evidence: Iterable[Any],
    probability: float | None = None,
    claims: Iterable[Any] = (),
    quotation: bool = False,
) -> Sentence:
    return Sentence(
        start,
        end,
        Support(support),
        _quotes(evidence),
        probability,
        tuple(_claim(**c) for c in claims),
        quotation,
    )


def _claim(
    start: int, end: int, support: str, evidence: Iterable[Any], probability: float
) -> Claim:
    return Claim(start, end, Support(support), _quotes(evidence), probability)


def _quotes(evidence: Iterable[Any]) -> tuple[Evidence, ...]:
    return tuple(Evidence(**quote) for quote in evidence)


def _usage(prompt_tokens: int, completion_tokens: int, finish_reason: str) -> Usage:
    return Usage(prompt_tokens, completion_tokens, FinishReason(finish_reason))
