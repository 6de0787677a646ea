"""What happens while a question is answered, in the order in which it is told."""

from collections.abc import Generator
from dataclasses import dataclass

from rag_rt.answers import Answer, Sentence
from retriever import Hit


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages were found."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Wrote:
    """The answer grew by `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class Grounded:
    """The sentence number `index` of the answer is finished."""

    index: int
    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole."""

    answer: Answer


Event = Retrieved | Wrote | Grounded | Finished
EventStream = Generator[Event, None, None]
Turns = Generator[Event | None, None, None]
"""Events, and None for a turn of work that had nothing to tell."""
