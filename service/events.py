"""What a client is told of an answer: the pipeline's events, and its place in the line."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from rag_rt import events
from rag_rt.answers import Answer
from rag_rt.events import Finished, Grounded, Retrieved, Wrote


@dataclass(frozen=True, slots=True)
class Queued:
    """The answer waits until `ahead` others have begun."""

    ahead: int


Event = Queued | events.Event

_TYPES = {"retrieval": Retrieved, "token": Wrote, "sentence": Grounded, "done": Finished}
_NAMES = {Queued: "queued", **{kind: name for name, kind in _TYPES.items()}}
_PARSERS: dict[str, TypeAdapter[Any]] = {n: TypeAdapter(kind) for n, kind in _TYPES.items()}


async def next_of(happening: AsyncGenerator[Event]) -> Event:
    """The next event of an answer, as a coroutine."""
    return await anext(happening)


async def answer_of(happening: AsyncGenerator[Event]) -> Answer:
    """The whole answer, at the end of its events."""
    async with aclosing(happening):
        async for event in happening:
            if isinstance(event, Finished):
                return event.answer
    raise AssertionError("a stream ends with Finished")


def name_of(event: Event) -> str:
    """What an event is called, between the processes and to clients."""
    return _NAMES[type(event)]


def parsed(name: str, data: object) -> events.Event:
    """The pipeline's event of this name from JSON values.

    Raises:
        KeyError, ValueError: there is none of this name, or it is told otherwise.
    """
    event: events.Event = _PARSERS[name].validate_python(data)
    return event


def data_of(event: Event) -> dict[str, Any]:
    """What a client is told of an event, as JSON values."""
    match event:
        case Grounded(index, sentence):
            return {"index": index, **asdict(sentence)}
        case Finished(answer):
            return asdict(answer)
        case _:
            return asdict(event)
