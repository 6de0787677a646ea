"""Several worker processes as one: each call goes to the one that has the fewest.

A worker reads, searches and grounds for one answer at a time and writes for all of its answers
together. Two of them on one thread each keep two cores busy through all of it, which one on two
threads does not (benchmarks/service_load.py); each holds the models for itself.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from rag_rt.settings import Settings
from retriever.index_files import IndexState, index_state
from retriever.index_names import LOCAL
from service.errors import Loading
from service.settings import ServiceSettings
from service.supervising import COMMAND, Reply, Worker


class WorkerPool:
    """Keeps workers running and deals calls out to them."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceSettings,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Describe the workers; `run` starts them.

        Args:
            settings: what each loads; its threads are shared out among them.
            service: how many workers there are, how long one may be silent, and what is logged.
            command: starts a worker, whose last argument is the number of its socket.
        """
        threads = settings.threads or _cores()
        count = service.workers or min(2, threads)
        share = settings.model_copy(update={"threads": max(1, threads // count)})
        self._workers = [Worker(share, service, command) for _ in range(count)]
        self._index = settings.index_directory if settings.retriever == LOCAL else None
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        for worker in self._workers:
            worker.on_ready = lambda: self.on_ready()
            worker.on_failure = lambda: self.on_failure()

    @property
    def ready(self) -> int:
        """How many workers take calls."""
        return sum(worker.ready for worker in self._workers)

    @property
    def facts(self) -> dict[str, Any] | None:
        """What answers, as a worker told last; None while none takes calls."""
        return max(self._workers, key=lambda worker: (worker.ready, worker.facts_told)).facts

    @property
    def loading(self) -> str:
        """What the first worker is loading."""
        return self._workers[0].loading

    @property
    def failure(self) -> str | None:
        """Why the first worker could not be loaded, where none ever was."""
        return None if self._workers[0].first_ready.is_set() else self._workers[0].failure

    def index_state(self) -> IndexState:
        """Differs whenever the index that is answered from does; a cluster's is not watched."""
        return () if self._index is None else index_state(self._index)

    async def run(self) -> None:
        """Keep the workers running until cancelled, then end them.

        They start one after the other, so that the first is ready as soon as can be, and what it
        compiles or fetches is there for the next.
        """
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run())
                await worker.first_ready.wait()

    def begin(self, name: str, data: object, reply: Reply) -> Callable[[], None]:
        """Begin a call; `reply` gets what its worker says to it, and the loss of the worker.

        Returns:
            what gives the call up: nothing more is heard of it.

        Raises:
            Loading: there is no worker that takes calls.
        """
        return self._idlest().begin(name, data, reply)

    async def call(self, name: str, data: object) -> Any:
        """The result of a call that has one.

        Raises:
            Loading: there is no worker that takes calls.
            ServiceError: the call failed, or its worker was lost.
        """
        return await self._idlest().call(name, data)

    def _idlest(self) -> Worker:
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            raise Loading(self.loading)
        return min(ready, key=lambda worker: worker.calls)


def _cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
