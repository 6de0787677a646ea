"""The service under load: clients at once, its own share of an answer's time, and far too many.

`python -m benchmarks.service_load` starts the service with the starter models and prints four
measurements. Answers are greedy and of questions that differ, with the cache off.

* Throughput: tokens a second in total of 1, 2, 4 and 8 clients, each asking one question after the
  other; one client is the baseline.
* Overhead: the time from request to reply as the client sees it, less the pipeline's own total (its
  work for that answer), of one client.
* Overload: an open loop sends `--times` as many questions as are answered at full load, for
  `--seconds`: statuses, the time of rejections, goodput as a share of the full load's, memory of
  the two processes before and after. The first quarter, in which the line fills, does not count.
* Restart: the worker is killed in the midst of an answer; seconds until its client has the error
  and until questions are taken again.
"""

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from benchmarks.machine import machine

QUESTIONS = (
    "Why is the ocean salty?",
    "How do vaccines work?",
    "What is gold used for?",
    "How does photosynthesis work?",
    "Why do leaves change colour?",
    "What causes earthquakes?",
    "How do aeroplanes fly?",
    "What is a black hole?",
)
CLIENTS = (1, 2, 4, 8)
_FILLING = 0.25  # share of the overload in which the line fills
WARM_UP = 2  # answers before anything is measured


@dataclass
class Reply:
    """What became of a question."""

    status: int
    seconds: float
    tokens: int = 0
    worked: float = 0.0
    retry_after: bool = False
    at: float = 0.0


class Asker:
    """Asks one question after the other, no two alike."""

    def __init__(self, client: httpx.AsyncClient, max_tokens: int, mode: str) -> None:
        self._client = client
        self._max_tokens = max_tokens
        self._mode = mode
        self._seeds = itertools.count()

    async def ask(self) -> Reply:
        """Ask the next question."""
        seed = next(self._seeds)
        body = {
            "question": QUESTIONS[seed % len(QUESTIONS)],
            "max_tokens": self._max_tokens,
            "seed": seed,
            "mode": self._mode,
            "timeout_s": 600,
        }
        begun = time.perf_counter()
        reply = await self._client.post("/answer", json=body)
        seconds = time.perf_counter() - begun
        if reply.status_code != 200:
            return Reply(reply.status_code, seconds, retry_after="retry-after" in reply.headers)
        answer = reply.json()
        tokens, worked = answer["usage"]["completion_tokens"], answer["timings"]["total"]
        return Reply(200, seconds, tokens, worked, at=begun + seconds)

    async def ask_for(self, seconds: float, replies: list[Reply]) -> None:
        """Ask until the time is over; an answer that is then under way is read to its end."""
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            replies.append(await self.ask())


@contextmanager
def service(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The real service, without a cache."""
    environment = {
        **os.environ,
        "RAG_RT_SERVICE_CACHE_ANSWERS": "0",
        "RAG_RT_SERVICE_LOG_LEVEL": "error",
        "RAG_RT_SERVICE_TIMEOUT_S": "600",
    }
    command = [str(Path(sys.executable).with_name("rag-rt")), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


async def until_ready(client: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await client.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)


async def throughput(asker: Asker, seconds: float) -> float:
    """Print tokens a second by clients; returns answers a second of the most."""
    print(f"\n{'clients':>8} {'answers':>8} {'tokens/s':>9} {'factor':>7} {'median s':>9}")
    baseline = rate = 0.0
    for clients in CLIENTS:
        replies: list[Reply] = []
        begun = time.perf_counter()
        await asyncio.gather(*(asker.ask_for(seconds, replies) for _ in range(clients)))
        took = time.perf_counter() - begun
        tokens = sum(reply.tokens for reply in replies) / took
        baseline = baseline or tokens
        rate = len(replies) / took
        middle = median(reply.seconds for reply in replies)
        factor = tokens / baseline
        print(f"{clients:>8} {len(replies):>8} {tokens:>9.1f} {factor:>6.2f}x {middle:>9.2f}")
    return rate


async def overhead(asker: Asker, answers: int) -> None:
    replies = [await asker.ask() for _ in range(answers)]
    own = sorted(1000 * (reply.seconds - reply.worked) for reply in replies)
    print(f"\nin the service outside the pipeline, {answers} answers: ", end="")
    print(f"median {median(own):.2f} ms, most {own[-1]:.2f} ms")


async def overload(
    asker: Asker, process: "subprocess.Popen[bytes]", rate: float, times: float, seconds: float
) -> None:
    """Send `times` as many questions a second as `rate`, whatever becomes of them."""
    before = resident_mib(process)
    replies: list[Reply] = []

    async def one() -> None:
        replies.append(await asker.ask())

    begun = time.perf_counter()
    asked: list[asyncio.Task[None]] = []
    for number in itertools.count():
        due = begun + number / (rate * times)
        if due > begun + seconds:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.create_task(one()))
    await asyncio.gather(*asked)
    counted = begun + seconds * _FILLING, begun + seconds
    answered = sum(counted[0] <= reply.at < counted[1] for reply in replies)
    refused = sorted(reply.seconds for reply in replies if reply.status != 200)
    statuses = Counter(reply.status for reply in replies)
    told = all(reply.retry_after for reply in replies if reply.status in (429, 503))
    goodput = answered / (seconds * (1 - _FILLING))
    print(f"\noverload: {len(replies):,} questions in {seconds:g} s, {times:g} times the full load")
    print(f"statuses {dict(sorted(statuses.items()))}, all refusals with Retry-After: {told}")
    if refused:
        p99 = 1000 * refused[int(0.99 * (len(refused) - 1))]
        print(f"refusals: median {1000 * median(refused):.1f} ms, 99th percentile {p99:.1f} ms")
    print(
        f"goodput {goodput:.3f} answers/s, {goodput / rate:.1%} of the full load without overload"
    )
    after = resident_mib(process)
    for name in before:
        print(f"memory of the {name}: {before[name]:.0f} MiB before, {after[name]:.0f} MiB after")


async def restart(client: httpx.AsyncClient, process: "subprocess.Popen[bytes]") -> None:
    """Kill the worker while it writes."""
    body = {"question": QUESTIONS[0], "max_tokens": 256, "seed": 0, "stream": True}
    async with client.stream("POST", "/answer", json=body) as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        begun = time.perf_counter()
        os.kill(_worker(process), signal.SIGKILL)
        said = [line async for line in lines]
        told = time.perf_counter() - begun
    assert "event: error" in said, said[-4:]
    await until_ready(client)
    ready = time.perf_counter() - begun
    print(f"\nworker killed: its client told after {told:.3f} s, ready again after {ready:.1f} s")


def resident_mib(process: "subprocess.Popen[bytes]") -> dict[str, float]:
    """Memory of the server and its worker."""
    return {
        name: _resident(Path(f"/proc/{pid}/status"))
        for name, pid in (("server", process.pid), ("worker", _worker(process)))
    }


def _worker(process: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(children.read_text().split()[0])


def _resident(status: Path) -> float:
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def measure(options: argparse.Namespace, process: "subprocess.Popen[bytes]") -> None:
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    address = f"http://127.0.0.1:{options.port}"
    async with httpx.AsyncClient(base_url=address, timeout=700, limits=limits) as client:
        await until_ready(client)
        asker = Asker(client, options.max_tokens, options.mode)
        for _ in range(WARM_UP):
            await asker.ask()
        rate = await throughput(asker, options.each)
        await overhead(asker, options.answers)
        await overload(asker, process, rate, options.times, options.seconds)
        await restart(client, process)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--mode", default="grounded")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--each", type=float, default=60, help="seconds of each row of the first")
    parser.add_argument("--answers", type=int, default=20, help="answers of the second")
    parser.add_argument("--times", type=float, default=50, help="the load of the third")
    parser.add_argument("--seconds", type=float, default=120, help="of the third")
    options = parser.parse_args()
    print(machine())
    with service(options.port) as process:
        asyncio.run(measure(options, process))


if __name__ == "__main__":
    main()
