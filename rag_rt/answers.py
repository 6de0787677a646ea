"""The types of an answer. Offsets count characters (Python `str` indices).

Always true: `answer.text[s.start:s.end]` is sentence or claim `s`, and for each of its evidence `e`
`passage.text[e.start:e.end] == e.quote`, where `passage` is the hit whose id is `e.passage_id`.
"""

from dataclasses import dataclass
from enum import StrEnum

from retriever import Hit


class Support(StrEnum):
    """Whether the retrieved passages support a sentence."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    """Some of it, or all but a number, a name or a negation."""
    UNSUPPORTED = "unsupported"


class Status(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    NOT_FOUND = "not_found"
    """Nothing in the corpus is about the question; the text says so."""
    UNANSWERED = "unanswered"
    """Passages about the question were found, but they do not answer it; the text says so."""


class FinishReason(StrEnum):
    """Why the generator stopped."""

    STOP = "stop"
    """It ended the text itself."""
    LENGTH = "length"
    """The text reached the number of tokens asked for, or the context its end."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words of a passage that a sentence rests on; `score` is in [0, 1]."""

    passage_id: str
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the things that a sentence says; evidence is empty exactly when it is unsupported."""

    start: int
    end: int
    support: Support
    evidence: tuple[Evidence, ...]
    probability: float
    """That people would call the passages its support."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the answer; evidence is empty exactly when it is unsupported.

    `claims` are its parts where it says several things, else empty. `probability` is None for
    answers that were recorded before there was one. A `quotation` is, word for word, the quote of
    its first evidence.
    """

    start: int
    end: int
    support: Support
    evidence: tuple[Evidence, ...]
    probability: float | None = None
    claims: tuple[Claim, ...] = ()
    quotation: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written by the generator, and why it stopped."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of work in each stage; `total` is wall-clock time, the reader's share included."""

    retrieval: float
    prompting: float
    generation: float
    grounding: float
    total: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A paragraph, the passages it was written from, and what each of its sentences rests on."""

    question: str
    text: str
    status: Status
    sentences: tuple[Sentence, ...]
    hits: tuple[Hit, ...]
    usage: Usage
    timings: Timings
