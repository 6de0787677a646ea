"""A real server process over the scripted worker, and a client of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from tests.conftest import free_port, wait_until_ready


class Service:
    """A server process, and a client of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.stopped = False
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def ask(self, question: str, **more: Any) -> httpx.Response:
        return self.client.post("/answer", json={"question": question, **more})

    def events(self, question: str, **more: Any) -> list[tuple[str, Any]]:
        """All events of a streamed answer."""
        return [(name, data) for _, name, data in self.stream(question, **more)]

    def stream(
        self, question: str, last_event_id: str | None = None, **more: Any
    ) -> Iterator[tuple[str, str, Any]]:
        """Ids, names and data of the events of a streamed answer, as they come."""
        body = {"question": question, "stream": True, **more}
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        with httpx.stream(
            "POST", f"{self.url}/answer", json=body, headers=headers, timeout=30
        ) as reply:
            assert reply.status_code == 200, reply.read()
            identifier = name = ""
            for line in reply.iter_lines():
                field, _, value = line.partition(": ")
                if field == "id":
                    identifier = value
                elif field == "event":
                    name = value
                elif field == "data":
                    yield identifier, name, json.loads(value)
                    identifier = ""

    def metric(self, name: str) -> float:
        """The value of a metric, with its labels in its name; 0 where it is not there yet."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0

    def until(self, name: str, value: float, seconds: float = 5) -> float:
        """Wait until a metric has a value; returns the seconds that this took."""
        begun = time.monotonic()
        while self.metric(name) != value:
            assert time.monotonic() - begun < seconds, f"{name} is {self.metric(name)}"
            time.sleep(0.01)
        return time.monotonic() - begun

    def until_alive(self) -> None:
        """Wait until the server listens, whether it is ready or not."""
        for _ in range(200):
            with suppress(httpx.TransportError):
                assert self.client.get("/livez").json() == {"status": "ok"}
                return
            time.sleep(0.1)
        raise AssertionError("it does not listen")

    def worker_pid(self) -> int:
        """The process of the worker."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children) as file:  # noqa: PTH123  # no path of a disk
            return int(file.read().split()[0])

    def stop(self) -> str:
        """End the server; returns what it said."""
        self.stopped = True
        self.client.close()
        self.process.send_signal(signal.SIGTERM)  # nothing to one that has ended
        try:
            return self.process.communicate(timeout=20)[1].decode()
        finally:
            self.process.kill()


@contextmanager
def scripted(*, ready: bool = True, **environment: str) -> Iterator[Service]:
    """A service over the scripted worker, of which there is one unless told otherwise.

    Args:
        ready: whether to wait until it takes questions.
        environment: the service's settings, whose names lack RAG_RT_SERVICE_, and SCRIPT_….
    """
    environment = {"WORKERS": "1", **environment}
    named = {
        name if name.startswith("SCRIPT") else f"RAG_RT_SERVICE_{name}": value
        for name, value in environment.items()
    }
    command = [sys.executable, "-m", "tests.service.scripted_server"]
    with served(command, named, ready=ready) as service:
        yield service


@contextmanager
def served(
    command: Sequence[str], environment: Mapping[str, str], *, ready: bool = True
) -> Iterator[Service]:
    """The service that a command starts when it is given a port as its last argument."""
    port = free_port()
    process = subprocess.Popen(
        [*command, str(port)], stderr=subprocess.PIPE, env={**os.environ, **environment}
    )
    service = Service(process, port)
    try:
        if ready:
            wait_until_ready(service.url, process)
        yield service
    finally:
        if not service.stopped:
            service.stop()
