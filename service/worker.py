"""The process that holds the models: it writes several answers in turns, and does searches.

The server starts it as `python -m service.worker FD` and talks with it over the socket FD (see
`service.wire`). It ends when the other side of the socket is closed. One thread does everything:
between any two turns of answers it looks for new calls and for those that were given up.
"""

import logging
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter

from rag_rt.errors import PromptTooLong, RagRtError
from rag_rt.events import Finished, Turns
from rag_rt.requests import Request
from rag_rt.settings import Settings
from retriever.errors import RetrieverError
from service import logs
from service.events import name_of
from service.wire import NO_CALL, Message, decoded, encoded

if TYPE_CHECKING:  # it imports torch, which takes seconds, of which the server is told before
    from retriever.searching import Retriever

ALIVE = 1.0  # seconds between two signs of life while answers are written
_CHUNK = 64 * 1024  # bytes read at a time

_request = TypeAdapter(Request).validate_python
logger = logging.getLogger(__name__)


class Named(Protocol):
    """What says how it is called."""

    name: str


class Pipeline(Protocol):
    """What answers and searches: `rag_rt.answerer.Answerer`."""

    @property
    def retriever(self) -> "Retriever":
        """What finds passages."""
        ...

    @property
    def generator(self) -> Named:
        """What writes."""
        ...

    def turns(self, request: Request) -> Turns:
        """The events of an answer, and None for each turn of work that had nothing to tell."""
        ...


Load = Callable[[Settings], Pipeline]


class Link:
    """The worker's side of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._rest = b""

    def send(self, number: int, name: str, data: Any = None) -> None:
        """Tell the server something of a call, or of none."""
        self._socket.sendall(encoded(Message(number, name, data)))

    def receive(self, *, wait: bool) -> list[Message]:
        """What the server said meanwhile; with `wait` at least one message.

        Raises:
            EOFError: the server has gone.
        """
        messages: list[Message] = []
        while (wait and not messages) or select.select([self._socket], [], [], 0)[0]:
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise EOFError
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            messages += map(decoded, lines)
        return messages


@dataclass
class _Running:
    turns: Turns
    request_id: str


class Loop:
    """Takes calls and gives each answer in progress one turn after the other."""

    def __init__(self, link: Link, pipeline: Pipeline) -> None:
        self._link = link
        self._pipeline = pipeline
        self._running: dict[int, _Running] = {}
        self._told = _facts(pipeline)
        self._alive = time.monotonic()

    def run(self) -> None:
        """Work until the server has gone.

        Raises:
            EOFError: it has.
        """
        while True:
            self._obey(wait=not self._running)
            for number in list(self._running):
                if number in self._running:
                    self._turn(number)
                    self._obey(wait=False)
            self._sign_of_life()

    def _obey(self, *, wait: bool) -> None:
        for message in self._link.receive(wait=wait):
            match message.name:
                case "answer":
                    self._begin(message)
                case "cancel":
                    self._end(message.number)
                case _:
                    self._look_up(message)

    def _begin(self, message: Message) -> None:
        self._tell_changes()
        turns = self._pipeline.turns(_request(message.data["request"]))
        self._running[message.number] = _Running(turns, message.data["request_id"])

    def _end(self, number: int) -> None:
        if running := self._running.pop(number, None):
            running.turns.close()

    def _turn(self, number: int) -> None:
        running = self._running[number]
        logs.request_id.set(running.request_id)
        try:
            event = next(running.turns)
        except Exception as error:  # this answer ends; the others go on
            self._end(number)
            self._link.send(number, "error", _failure(error))
            return
        if event is not None:
            self._link.send(number, name_of(event), event)
        if isinstance(event, Finished):
            self._end(number)

    def _look_up(self, message: Message) -> None:
        self._tell_changes()
        retriever = self._pipeline.retriever
        try:
            data = message.data
            match message.name:
                case "search":
                    found: Any = retriever.search(data["question"], data["k"], data["retrieval"])
                case "passage":
                    found = retriever.find(data["id"])
                case _:
                    raise ValueError(f"there is no call {message.name!r}")
        except Exception as error:
            self._link.send(message.number, "error", _failure(error))
        else:
            self._link.send(message.number, "result", found)

    def _tell_changes(self) -> None:
        """The index may be changed while it is served."""
        try:
            facts = _facts(self._pipeline)
        except RetrieverError:  # the index is out of reach: this call will fail of it, and no other
            return
        if facts != self._told:
            self._told = facts
            self._link.send(NO_CALL, "facts", facts)

    def _sign_of_life(self) -> None:
        if self._running and time.monotonic() - self._alive > ALIVE:
            self._alive = time.monotonic()
            self._link.send(NO_CALL, "alive")


def _failure(error: Exception) -> dict[str, str]:
    """What the server may know of a failure; the log gets the rest."""
    if isinstance(error, PromptTooLong):
        return {"code": "prompt_too_long", "message": str(error)}
    logger.error("a call failed", exc_info=error)
    # torch tells of memory that it cannot have by a RuntimeError of these words.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return {"code": "out_of_memory", "message": ""}
    return {"code": "internal", "message": ""}


def serve(connection: socket.socket, load: Callable[[], Load]) -> None:
    """Load the models, then work until the server has gone; a polite signal does not end it.

    Args:
        connection: to the server.
        load: imports what it takes to load a pipeline.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # given to a group, it is for the server
    _die_first()
    link = Link(connection)
    try:
        start = link.receive(wait=True)[0].data
        logs.log_as_json(start["log_level"])
        link.send(NO_CALL, "loading", "libraries")
        loader = load()
        link.send(NO_CALL, "loading", "models and index")
        try:
            pipeline = loader(Settings.model_validate(start["settings"]))
        except (RagRtError, RetrieverError) as error:
            link.send(NO_CALL, "failed", str(error))
            return
        except Exception as error:  # foreseen or not, a server that never answers must say why
            logger.exception("the models cannot be loaded")
            link.send(NO_CALL, "failed", f"cannot load what answering takes: {error}")
            return
        link.send(NO_CALL, "ready", _facts(pipeline))
        Loop(link, pipeline).run()
    except (EOFError, ConnectionError):
        return


def _die_first() -> None:
    """Where memory ends, have the kernel end this process, which the server starts anew."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _facts(pipeline: Pipeline) -> dict[str, Any]:
    corpus = pipeline.retriever.corpus
    return {
        "generator": pipeline.generator.name,
        "encoder": pipeline.retriever.encoder.name,
        "index": {
            "passages": corpus.passages,
            "pages": corpus.pages,
            "source": corpus.source,
        },
    }


def connection() -> socket.socket:
    """The socket that the server handed over."""
    return socket.socket(fileno=int(sys.argv[1]))


def _answerer() -> Load:
    from transformers.utils.logging import disable_progress_bar

    from rag_rt.answerer import Answerer

    disable_progress_bar()  # type: ignore[no-untyped-call]  # standard error is the log
    return Answerer.from_settings


if __name__ == "__main__":
    serve(connection(), _answerer)
