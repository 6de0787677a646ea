"""A question and its options, checked before any work is done."""

from dataclasses import dataclass
from enum import StrEnum

from rag_rt.errors import InvalidRequest
from retriever.passages import MAX_PASSAGES
from retriever.search_modes import SEARCH_MODES, SearchMode

MAX_QUESTION = 2000  # characters; the longest of 3,900 ELI5 questions has 300
MAX_TOKENS = 1024
MAX_TEMPERATURE = 2.0
MAX_SEED = 2**63 - 1  # what torch.Generator.manual_seed takes


class Mode(StrEnum):
    """How an answer comes about."""

    GROUNDED = "grounded"
    """Written from picked sentences; what they do not support is written again, or quoted."""
    FREE = "free"
    """Written in one pass; support is told and nothing withheld."""
    EXTRACTIVE = "extractive"
    """The picked sentences themselves, word for word."""


@dataclass(frozen=True)
class Request:
    """A question to answer.

    Args:
        question: 1 to `MAX_QUESTION` characters, with at least one letter or digit.
        k: passages to retrieve.
        max_tokens: the longest answer, in tokens of the generator.
        temperature: 0 always takes the likeliest token.
        top_p: sample among the likeliest tokens that together have this probability.
        repetition_penalty: above 1 makes tokens of the answer less likely to come again.
        seed: makes sampling reproducible.
        mode: how the answer comes about.
        retrieval: how passages are found; None: as the index does best.

    Raises:
        InvalidRequest: a value is out of bounds; its `field` names which.
    """

    question: str
    k: int = 8
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    mode: Mode = Mode.GROUNDED
    retrieval: SearchMode | None = None

    def __post_init__(self) -> None:
        _check_question(self.question)
        _check_range("k", self.k, 1, MAX_PASSAGES)
        _check_range("max_tokens", self.max_tokens, 1, MAX_TOKENS)
        _check_range("temperature", self.temperature, 0, MAX_TEMPERATURE)
        if not 0 < self.top_p <= 1:
            raise InvalidRequest("top_p", f"top_p is {self.top_p}; it must be above 0, at most 1")
        _check_range("repetition_penalty", self.repetition_penalty, 0.5, 2)
        if self.seed is not None:
            _check_range("seed", self.seed, 0, MAX_SEED)
        if self.retrieval not in (None, *SEARCH_MODES):
            raise InvalidRequest(
                "retrieval",
                f"retrieval is {self.retrieval!r}; it must be one of {', '.join(SEARCH_MODES)}",
            )


def _check_question(question: str) -> None:
    if not question.strip():
        raise InvalidRequest("question", "the question is empty; ask something")
    if len(question) > MAX_QUESTION:
        raise InvalidRequest(
            "question",
            f"the question has {len(question):,} characters; at most {MAX_QUESTION:,} are read",
        )
    if not any(character.isalnum() for character in question):
        raise InvalidRequest(
            "question", "the question has no letter or digit in it; ask it in words"
        )
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise InvalidRequest(
            "question",
            "the question is not valid Unicode (it holds half a character); send it as UTF-8",
        )


def _check_range(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidRequest(field, f"{field} is {value}; it must be between {least} and {most}")
