"""Who is answered when: a bounded line, a few answers in progress together, deadlines.

Everything happens on the event loop's thread, in callbacks that do not wait: a place is free the
moment an answer ends, whether anybody reads it to its end or not.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from rag_rt import events
from rag_rt.events import Finished
from rag_rt.requests import Request
from retriever.index_files import IndexState
from service import logs
from service.caching import AnswerCache, is_repeatable
from service.errors import DeadlineExceeded, Loading, Overloaded, ServiceError, ShuttingDown
from service.events import Event, Queued, parsed
from service.metrics import Metrics
from service.pool import WorkerPool
from service.resuming import Kept
from service.settings import ServiceSettings
from service.supervising import failure_of
from service.wire import Message

_FIRST_GUESS = 5.0  # seconds of an answer, until one was measured
_MEMORY = 0.8  # share of the old estimate of an answer's seconds that stays with each new one

logger = logging.getLogger(__name__)


class _Job:
    """An answer that was asked for."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.request_id = logs.request_id.get()
        self.asked = time.monotonic()
        self.begun: float | None = None
        self.give_up: Callable[[], None] = lambda: None  # the worker's call, once it has a place
        self.ahead = 0  # what it was told last
        self.index: IndexState = ()  # when it began
        self.over = False
        self.told: list[events.Event] = []
        self.mail: asyncio.Queue[Event | ServiceError] = asyncio.Queue()
        self.timer: asyncio.TimerHandle | None = None


class Scheduler:
    """Answers requests with the workers of a pool."""

    def __init__(
        self,
        workers: WorkerPool,
        settings: ServiceSettings,
        metrics: Metrics,
        index: Callable[[], IndexState] = tuple,
    ) -> None:
        """Begin with nobody in the line.

        Args:
            workers: answer.
            settings: how many, how long, and the like.
            metrics: counts.
            index: the state of the index, on which answers depend beside the requests.
        """
        self._index = index
        self._workers = workers
        self._settings = settings
        self._metrics = metrics
        self._cache = AnswerCache(settings.cache_answers, settings.cache_mb * 1e6)
        self._waiting: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._closing = False
        self._answer_s = _FIRST_GUESS
        self.kept = Kept(index)
        """Streams that a client may go on with."""
        workers.on_ready = self._worker_ready
        workers.on_failure = metrics.worker_failures.inc
        metrics.watch(
            lambda: len(self._waiting), lambda: len(self._running), lambda: self._workers.ready
        )

    @property
    def closing(self) -> bool:
        """Whether no more questions are taken."""
        return self._closing

    async def stream(
        self, request: Request, *, deadline: float | None = None
    ) -> AsyncGenerator[Event]:
        """The events of an answer; closing the iterator gives up its place and stops the work.

        Args:
            request: what to answer.
            deadline: seconds that it may take from now on, the wait for a place included; by
                default the setting's.

        Raises:
            ShuttingDown: no more questions are taken, or the time to end them is over.
            Loading: the models are not loaded yet.
            Overloaded: as many wait as may.
            DeadlineExceeded: the time is over.
            ServiceError: the answer failed.
        """
        if cached := self._cached(request):
            for event in cached:
                yield event
            return
        job = self._submit(request, deadline or self._settings.timeout_s)
        try:
            while True:
                mail = await job.mail.get()
                if isinstance(mail, ServiceError):
                    raise mail
                yield mail
                if isinstance(mail, Finished):
                    return
        finally:
            self._abandon(job)

    async def call(self, name: str, data: object) -> Any:
        """A worker's reply to a call that is no answer, a search for example, as JSON values.

        Raises:
            ServiceError: there is no worker, or it failed.
        """
        if self._closing:
            raise ShuttingDown
        return await self._workers.call(name, data)

    async def drain(self, grace_s: float) -> None:
        """Take no more questions; return when all answers have ended, which the grace time ends."""
        self._closing = True
        for job in list(self._waiting):
            self._end(job, ShuttingDown())
        ends = time.monotonic() + grace_s
        while self._running and time.monotonic() < ends:
            await asyncio.sleep(0.02)
        for job in list(self._running):
            self._end(job, ShuttingDown())

    def _cached(self, request: Request) -> Sequence[Event] | None:
        if self._closing:
            raise self._refused(ShuttingDown())
        events = self._cache.get(request, self._index())
        if events:
            self._metrics.cache_hits.inc()
        elif is_repeatable(request):
            self._metrics.cache_misses.inc()
        return events

    def _submit(self, request: Request, seconds: float) -> _Job:
        if not self._workers.ready:
            raise self._refused(Loading(self._workers.loading))
        if not self._places() and len(self._waiting) >= self._settings.waiting:
            raise self._refused(Overloaded(self._seconds_of_line()))
        job = _Job(request)
        job.timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self._end(job, DeadlineExceeded(seconds))
        )
        self._waiting.append(job)
        self._fill()
        return job

    def _refused(self, error: ServiceError) -> ServiceError:
        self._metrics.rejections.labels(error.code).inc()
        return error

    def _places(self) -> int:
        return self._settings.running - len(self._running)

    def _seconds_of_line(self) -> float:
        """How long those who wait take, by the measured time of an answer."""
        return self._answer_s * max(1, len(self._waiting)) / self._settings.running

    def _fill(self) -> None:
        """Give free places to those who wait, and tell the others how many are ahead of them."""
        while self._waiting and self._places() and self._workers.ready:
            self._begin(self._waiting.popleft())
        for place, job in enumerate(self._waiting, start=1):
            if job.ahead != place:
                job.ahead = place
                job.mail.put_nowait(Queued(place))

    def _begin(self, job: _Job) -> None:
        job.begun = time.monotonic()
        job.index = self._index()
        self._metrics.queue_seconds.observe(job.begun - job.asked)
        self._running.add(job)
        data = {"request": job.request, "request_id": job.request_id}
        job.give_up = self._workers.begin("answer", data, lambda message: self._hear(job, message))

    def _hear(self, job: _Job, message: Message) -> None:
        if message.name == "error":
            self._end(job, failure_of(message))
            return
        event = parsed(message.name, message.data)
        job.told.append(event)
        job.mail.put_nowait(event)
        if isinstance(event, Finished):
            self._metrics.finished(event.answer)
            self._cache.put(job.request, job.told, job.index)
            self._measure(job)
            self._end(job)
            tokens = event.answer.usage.completion_tokens
            self._log(job, "answered", {"status": event.answer.status, "tokens": tokens})

    def _measure(self, job: _Job) -> None:
        assert job.begun is not None
        seconds = time.monotonic() - job.begun
        self._metrics.answer_seconds.observe(seconds)
        self._answer_s = _MEMORY * self._answer_s + (1 - _MEMORY) * seconds

    def _end(self, job: _Job, error: ServiceError | None = None) -> None:
        """Take an answer out, running or waiting, and tell its reader why if it failed."""
        if job.over:
            return
        job.over = True
        if job.timer:
            job.timer.cancel()
        job.give_up()
        self._running.discard(job)
        if job in self._waiting:
            self._waiting.remove(job)
        if error:
            job.mail.put_nowait(self._refused(error))
            self._log(job, "ended", {"code": error.code})
        self._fill()

    def _abandon(self, job: _Job) -> None:
        """End an answer that nobody reads any more."""
        if not job.over:
            state = "waiting" if job.begun is None else "running"
            self._metrics.cancellations.labels(state).inc()
            self._end(job)
            self._log(job, "left", {"state": state})

    def _log(self, job: _Job, message: str, facts: dict[str, Any]) -> None:
        now = time.monotonic()
        facts |= {
            "request_id": job.request_id,
            "waited_s": round((job.begun or now) - job.asked, 4),
            "worked_s": round(now - (job.begun or now), 4),
        }
        if self._settings.log_questions:
            facts["question"] = job.request.question
        logger.info(message, extra=facts)

    def _worker_ready(self) -> None:
        self._metrics.worker_starts.inc()
        # It read index and model anew, which may be others now.
        self._cache.clear()
        self.kept.clear()
        self._fill()
