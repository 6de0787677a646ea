"""One question at a time through the pipeline, in a thread of its own; the others wait in line."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from rag_rt.answerer import Answerer, Event
from rag_rt.requests import Request

MAX_WAITING = 16  # at about 5 seconds an answer, the last in line waits a minute and a half
RETRY_AFTER = 30  # seconds


class Busy(Exception):
    """As many questions wait as may."""


class Desk:
    """Where questions stand in line."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        # One thread for all steps: the pipeline is not thread-safe, and torch keeps a pool of
        # workers for every thread that calls it.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answering")

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """The events of an answer; closing the iterator gives up the place and stops the work.

        Raises:
            Busy: `MAX_WAITING` questions wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        events = self._answerer.stream(request)
        loop = asyncio.get_running_loop()
        try:
            while (
                event := await loop.run_in_executor(self._thread, next, events, None)
            ) is not None:
                yield event
        finally:
            # A step may still be running: the same thread closes the stream after it.
            self._thread.submit(events.close)
            self._turn.release()
