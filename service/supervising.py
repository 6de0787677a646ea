"""The worker process as the server sees it: started, spoken with, and started again when lost."""

import asyncio
import itertools
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rag_rt.settings import Settings
from service.errors import OF_WORKER, Failed, ServiceError, WorkerLost
from service.settings import ServiceSettings
from service.wire import LIMIT, NO_CALL, Message, decoded, encoded

COMMAND = (sys.executable, "-m", "service.worker")
_FIRST_PAUSE = 0.25  # seconds before a lost worker is started again; doubled while it never works
_LONGEST_PAUSE = 30.0
_FAREWELL = 3.0  # seconds that a worker has to end by itself

logger = logging.getLogger(__name__)
Reply = Callable[[Message], None]


class Worker:
    """Keeps one worker process running; calls and replies are messages of `service.wire`."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceSettings,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Describe a worker; `run` starts it.

        Args:
            settings: what it loads, and the threads that it may use.
            service: how long it may be silent, and what is logged.
            command: starts the process, whose last argument is the number of its socket.
        """
        self.facts: dict[str, Any] | None = None
        """What answers, while something does; None while it is loaded."""
        self.loading = "process"
        """What is being loaded."""
        self.failure: str | None = None
        """Why it could not be loaded the last time, for the operator; None when it could."""
        self.first_ready = asyncio.Event()
        """Set once it has ever taken calls."""
        self.facts_told = 0.0
        """When the facts were told last."""
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self._start_message = {
            "settings": settings.model_dump(mode="json"),
            "log_level": service.log_level,
        }
        self.environment = {**os.environ}
        if settings.threads is not None:  # for the libraries that know of no other way
            self.environment["OMP_NUM_THREADS"] = str(settings.threads)
        self._hang_s = service.hang_s
        self._command = command
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(NO_CALL + 1)
        self._calls: dict[int, Reply] = {}
        self._heard = 0.0  # when

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self.facts is not None

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    async def run(self) -> None:
        """Keep a worker running until cancelled, then end it."""
        pause = _FIRST_PAUSE
        while True:
            worked = False
            try:
                worked = await self._run_once()
            except Exception:  # of any kind, or no worker would be started ever again
                logger.exception("the worker was given up")
            pause = _FIRST_PAUSE if worked else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def begin(self, name: str, data: object, reply: Reply) -> Callable[[], None]:
        """Begin a call of a worker that is ready; see `WorkerPool.begin`."""
        number = next(self._numbers)
        if not self._calls:
            self._heard = time.monotonic()  # a worker without calls is silent
        self._calls[number] = reply
        self._send(Message(number, name, data))
        return lambda: self._cancel(number)

    def _cancel(self, number: int) -> None:
        """Give up a call; nothing happens to one that has ended."""
        if self._calls.pop(number, None):
            self._send(Message(number, "cancel"))

    async def call(self, name: str, data: object) -> Any:
        """The result of a call that has one; see `WorkerPool.call`."""
        replied: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        give_up = self.begin(name, data, lambda message: _resolve(replied, message))
        try:
            message = await replied
        finally:
            give_up()
        if message.name == "error":
            raise failure_of(message)
        return message.data

    async def _run_once(self) -> bool:
        """Start a process and listen until it ends; returns whether it was ever ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=DEVNULL,
                env=self.environment,
                start_new_session=True,  # Ctrl-C at a terminal is for the server alone
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LIMIT)
        self.loading = "process"
        try:
            self._send(Message(NO_CALL, "settings", self._start_message))
            await self._listen(reader)
        finally:
            worked = self.ready
            self.facts = None
            self._writer.close()
            self._lose_calls()
            await _ended(process)
        logger.error("the worker ended", extra={"returncode": process.returncode})
        return worked

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):  # it ended
            while not self._hangs():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._hang_s / 4):
                        line = await reader.readline()
                    if not line:
                        return
                    self._heard = time.monotonic()
                    self._take(decoded(line))
            logger.error("the worker hangs", extra={"silent_s": self._hang_s})

    def _hangs(self) -> bool:
        return bool(self._calls) and time.monotonic() - self._heard > self._hang_s

    def _take(self, message: Message) -> None:
        match message.name:
            case "loading":
                self.loading = message.data
            case "ready":
                self._know(message.data)
                self.failure = None
                self.first_ready.set()
                logger.info("ready", extra={"facts": self.facts})
                self.on_ready()
            case "facts":
                self._know(message.data)
            case "failed":
                self.failure = message.data
                logger.error("the worker cannot load", extra={"reason": message.data})
                self.on_failure()
            case name:
                if name in ("done", "error", "result"):
                    reply = self._calls.pop(message.number, None)
                else:
                    reply = self._calls.get(message.number)
                if reply:
                    reply(message)

    def _know(self, facts: dict[str, Any]) -> None:
        self.facts, self.facts_told = facts, time.monotonic()

    def _send(self, message: Message) -> None:
        if self._writer and not self._writer.is_closing():
            self._writer.write(encoded(message))

    def _lose_calls(self) -> None:
        lost, self._calls = self._calls, {}
        for number, reply in lost.items():
            reply(Message(number, "error", {"code": WorkerLost.code, "message": ""}))


def failure_of(message: Message) -> ServiceError:
    """The failure that an `error` of the worker tells of."""
    code, text = message.data["code"], message.data["message"]
    if code == WorkerLost.code:
        return WorkerLost()
    kind = OF_WORKER.get(code, Failed)
    return kind(text) if text else kind()  # type: ignore[call-arg]  # each with a text of its own


def _resolve(future: "asyncio.Future[Message]", message: Message) -> None:
    if not future.done():
        future.set_result(message)


async def _ended(process: Process) -> None:
    """Wait for a process whose socket is closed, and kill one that does not end."""
    try:
        async with asyncio.timeout(_FAREWELL):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
