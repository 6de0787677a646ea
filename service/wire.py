"""What the server and its worker tell each other: one JSON object a line, over a socket pair.

No pickle: neither side can make the other run anything. A line is bounded, and every message
belongs to a call by its number, or to none (0).

    server → worker   settings · answer {request, request_id} · search {question, k}
                      passage {id} · cancel
    worker → server   loading · ready · failed · alive            (of no call)
                      retrieval · token · sentence · done · error (of an answer)
                      result · error                              (of a search or a passage)
"""

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

LIMIT = 16 * 2**20  # bytes of a line; 50 passages of 100 words, told twice, take a tenth of one MiB
NO_CALL = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One line: `data` is any JSON value."""

    number: int
    name: str
    data: Any = None


def encoded(message: Message) -> bytes:
    """A message as a line; dataclasses and enums in its data become JSON."""
    return to_json([message.number, message.name, message.data]) + b"\n"


def decoded(line: bytes) -> Message:
    """The message of a line.

    Raises:
        ValueError: it is none.
    """
    number, name, data = from_json(line)
    return Message(int(number), str(name), data)
