"""Whatever clients and the worker do, in any order: places, the line, and who is told what."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.events import Finished
from rag_rt.requests import Request
from service.errors import (
    DeadlineExceeded,
    Loading,
    Overloaded,
    ServiceError,
    ShuttingDown,
    WorkerLost,
)
from service.events import Event, Queued
from service.metrics import Metrics
from service.pool import WorkerPool
from service.scheduling import Scheduler
from service.settings import ServiceSettings
from service.supervising import Reply
from service.wire import Message
from tests.service.scripted_worker import Scripted

PLACES, LINE = 2, 3
ANSWER = list(Scripted().turns(Request("steps=1")))[-1]


class StubPool:
    """Workers that say what a test has them say."""

    def __init__(self) -> None:
        self.ready = True
        self.loading = "nothing"
        self.on_ready: Callable[[], None] = lambda: None
        self.calls: dict[int, Reply] = {}
        self.begun: list[str] = []

    def begin(self, name: str, data: Any, reply: Reply) -> Callable[[], None]:
        self.begun.append(data["request"].question)
        number = len(self.begun)
        self.calls[number] = reply

        def give_up() -> None:
            self.calls.pop(number, None)

        return give_up

    def say(self, number: int, name: str, data: Any) -> None:
        reply = self.calls.pop(number) if name in ("done", "error") else self.calls[number]
        reply(Message(number, name, data))

    def lose(self) -> None:
        self.ready = False
        lost, self.calls = self.calls, {}
        for number, reply in lost.items():
            reply(Message(number, "error", {"code": "worker_lost", "message": ""}))

    def recover(self) -> None:
        self.ready = True
        self.on_ready()


class Client:
    """Reads an answer to its end, or until it leaves."""

    def __init__(self, scheduler: Scheduler, question: str, deadline: float | None = None) -> None:
        self.question = question
        self.told: list[Event] = []
        self.error: ServiceError | None = None
        self.task = asyncio.create_task(self._read(scheduler, deadline))

    async def _read(self, scheduler: Scheduler, deadline: float | None) -> None:
        request = Request(self.question, temperature=1)
        try:
            async for event in scheduler.stream(request, deadline=deadline):
                self.told.append(event)
        except ServiceError as error:
            self.error = error


def made(**settings: Any) -> tuple[Scheduler, StubPool]:
    worker = StubPool()
    service = ServiceSettings(running=PLACES, waiting=LINE, **settings)
    return Scheduler(cast("WorkerPool", worker), service, Metrics()), worker


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def finish(worker: StubPool, number: int) -> None:
    worker.say(number, "done", {"answer": _json_answer()})


def _json_answer() -> Any:
    assert isinstance(ANSWER, Finished)
    return ANSWER.answer


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


MOVES = st.one_of(
    st.just(("ask", 0)),
    st.tuples(st.sampled_from(["leave", "finish", "fail"]), st.integers(0, 9)),
    st.sampled_from([("lose", 0), ("recover", 0)]),
)


@given(st.lists(MOVES, max_size=40))
def test_places_and_line_are_bounded_never_idle_and_in_order(moves: list[tuple[str, int]]) -> None:
    async def story() -> None:
        scheduler, worker = made()
        clients: list[Client] = []
        for move, which in moves:
            waiting = len(scheduler._waiting)
            full = len(worker.calls) == PLACES and waiting == LINE
            numbers = list(worker.calls)
            reading = [client for client in clients if not client.task.done()]
            match move:
                case "ask":
                    clients.append(Client(scheduler, f"question {len(clients)}"))
                    await settled()
                    refusal = Overloaded if full else type(None)
                    expected = refusal if worker.ready else Loading
                    assert type(clients[-1].error) is expected
                case "leave" if reading:
                    reading[which % len(reading)].task.cancel()
                case "finish" if numbers:
                    finish(worker, numbers[which % len(numbers)])
                case "fail" if numbers:
                    error = {"code": "internal", "message": ""}
                    worker.say(numbers[which % len(numbers)], "error", error)
                case "lose":
                    worker.lose()
                case "recover":
                    worker.recover()
            await settled()
            assert len(worker.calls) == len(scheduler._running) <= PLACES
            assert len(scheduler._waiting) <= LINE
            assert not (scheduler._waiting and worker.ready) or len(worker.calls) == PLACES
            reading = [client for client in clients if not client.task.done()]
            assert len(reading) == len(scheduler._running) + len(scheduler._waiting)
        begun = [int(question.split()[1]) for question in worker.begun]
        assert begun == sorted(begun)
        for client in clients:
            client.task.cancel()
        await settled()
        assert not worker.calls
        assert not scheduler._waiting

    play(story())


def test_those_who_wait_are_told_how_many_are_ahead_whenever_it_changes() -> None:
    async def story() -> None:
        scheduler, worker = made()
        clients = [Client(scheduler, f"question {number}") for number in range(5)]
        await settled()
        finish(worker, 1)
        await settled()
        clients[3].task.cancel()
        await settled()
        assert [client.told for client in clients[1:3]] == [[], [Queued(1)]]
        assert clients[4].told == [Queued(3), Queued(2), Queued(1)]

    play(story())


def test_an_answer_out_of_time_ends_whether_it_waits_or_is_written() -> None:
    async def story() -> None:
        scheduler, worker = made()
        clients = [Client(scheduler, f"question {n}", deadline=0.05) for n in range(3)]
        await asyncio.sleep(0.1)
        assert all(isinstance(client.error, DeadlineExceeded) for client in clients)
        assert not worker.calls

    play(story())


def test_a_place_is_free_when_an_answer_is_written_though_nobody_reads_it_to_its_end() -> None:
    async def story() -> None:
        scheduler, worker = made()
        unread = [scheduler.stream(Request(f"question {n}", temperature=1)) for n in range(PLACES)]
        firsts = [asyncio.ensure_future(anext(events)) for events in unread]
        await settled()
        for number in list(worker.calls):
            worker.say(number, "token", {"text": "a"})
            finish(worker, number)
        await asyncio.gather(*firsts)
        assert not scheduler._running

    play(story())


def test_a_lost_worker_ends_what_it_wrote_and_those_who_wait_go_on_with_the_next() -> None:
    async def story() -> None:
        scheduler, worker = made()
        clients = [Client(scheduler, f"question {number}") for number in range(3)]
        await settled()
        worker.lose()
        await settled()
        assert [type(client.error) for client in clients] == [WorkerLost, WorkerLost, type(None)]
        worker.recover()
        finish(worker, 3)
        await settled()
        assert isinstance(clients[2].told[-1], Finished)

    play(story())


@pytest.mark.parametrize("grace", [0, 5])
def test_draining_refuses_the_new_and_gives_the_running_their_time(grace: float) -> None:
    async def story() -> None:
        scheduler, worker = made()
        clients = [Client(scheduler, f"question {number}") for number in range(3)]
        await settled()
        draining = asyncio.create_task(scheduler.drain(grace))
        await settled()
        late = Client(scheduler, "question 4")
        await settled()
        for number in list(worker.calls):
            finish(worker, number)
        await draining
        await settled()
        assert isinstance(late.error, ShuttingDown)
        assert isinstance(clients[2].error, ShuttingDown)
        for client in clients[:2]:
            assert isinstance(client.error, ShuttingDown) == (grace == 0)

    play(story())


@given(st.integers(0, LINE), st.floats(0.1, 60))
def test_retry_after_grows_with_the_line_and_the_time_of_an_answer(
    waiting: int, seconds: float
) -> None:
    async def story() -> None:
        scheduler, _ = made()
        scheduler._answer_s = seconds
        clients = [Client(scheduler, f"question {n}") for n in range(PLACES + waiting)]
        await settled()
        assert scheduler._seconds_of_line() == seconds * max(1, waiting) / PLACES
        for client in clients:
            client.task.cancel()
        await settled()

    play(story())
