"""Several real worker processes behind one service."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag_rt.settings import Settings
from service.pool import WorkerPool
from service.settings import ServiceSettings
from service.wire import NO_CALL, Message
from tests.service.harness import Service, scripted


def workers_of(service: Service) -> list[int]:
    pid = service.process.pid
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def until_ready(service: Service, workers: int) -> None:
    service.until("rag_rt_workers", workers, seconds=60)


def test_a_lost_worker_takes_its_own_answers_along_and_no_others() -> None:
    with scripted(WORKERS="2") as service, ThreadPoolExecutor() as clients:
        until_ready(service, 2)
        asked = [clients.submit(service.ask, f"{number} steps=40 each=0.05") for number in range(4)]
        service.until("rag_rt_running", 4)
        os.kill(workers_of(service)[0], signal.SIGKILL)
        until_ready(service, 1)
        assert service.ask("next steps=1").json()["text"].startswith("0:")
        replies = [reply.result() for reply in asked]
        errors = [reply.json()["error"]["code"] for reply in replies if reply.status_code != 200]
        assert errors == ["worker_lost"] * 2
        until_ready(service, 2)
        assert service.metric("rag_rt_worker_starts_total") == 3


def test_workers_start_one_after_the_other_and_the_first_takes_questions() -> None:
    with scripted(WORKERS="3", SCRIPT_LOADS="0.7", ready=False) as service:
        service.until_alive()
        for number in range(3):
            until_ready(service, number)
            assert len(workers_of(service)) <= number + 1  # the next one may not run yet
            assert (service.client.get("/readyz").status_code == 200) == (number > 0)
        until_ready(service, 3)


@pytest.mark.parametrize(("threads", "share"), [(1, "1"), (5, "2"), (8, "4")])
def test_threads_are_shared_out(threads: int, share: str) -> None:
    pool = WorkerPool(Settings(threads=threads), ServiceSettings(workers=2))
    assert [worker.environment["OMP_NUM_THREADS"] for worker in pool._workers] == [share] * 2


def test_what_a_worker_told_last_is_told() -> None:
    pool = WorkerPool(Settings(), ServiceSettings(workers=2))
    first, second = pool._workers
    assert pool.facts is None
    for worker, name, told in ((first, "ready", 1), (second, "ready", 2), (first, "facts", 3)):
        worker._take(Message(NO_CALL, name, {"passages": told}))
        assert pool.facts == {"passages": told}
    first.facts = None  # it is lost
    assert pool.facts == {"passages": 2}
