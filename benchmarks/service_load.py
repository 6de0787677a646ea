"""The service under load: clients at once, its own share of an answer's time, and far too many.

`python -m benchmarks.service_load` starts the service with the starter models and prints, first
with one worker and then with the default of two:

* Throughput: tokens a second in total of 1, 2, 4 and 8 clients, each asking one question after the
  other; one client of one worker is the baseline. Answers are of questions and seeds that differ,
  with the cache off.
* Overhead: the time from request to reply as the client sees it, less the pipeline's own total (its
  work for that answer), of one client; beside it what it takes the client to get `/livez`.
* Restart: a worker is killed in the midst of an answer; seconds until its client has the error
  and until all workers take questions again.

Then, with two workers:

* Overload: `hey`, a load generator of Debian's, sends `--times` as many questions as it gets
  answered when 8 clients of its own ask one after the other, for `--seconds`: statuses, the time of
  rejections, goodput as a share of the eight clients' before and after it. The first quarter, in
  which the line fills, does not count.
* Soak: for `--soak` seconds, 8 clients ask; answers and memory of the processes each minute.

Everything runs on one machine: clients and load generator take their share of its cores.
"""

import argparse
import asyncio
import csv
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
RUNNING, WAITING = 8, 16  # the service's defaults
SENDERS = 10  # of the overload, which never wait long; others wait for answers
MINUTE = 60.0
_FILLING = 0.25  # share of the overload in which the line fills
WARM_UP = 4  # answers before anything is measured


@dataclass
class Reply:
    """What became of a question."""

    status: int
    seconds: float
    tokens: int = 0
    worked: float = 0.0
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
            return Reply(reply.status_code, seconds)
        answer = reply.json()
        tokens, worked = answer["usage"]["completion_tokens"], answer["timings"]["total"]
        return Reply(200, seconds, tokens, worked)

    async def ask_for(self, seconds: float, replies: list[Reply]) -> None:
        """Ask until the time is over; an answer that is then under way is read to its end."""
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            replies.append(await self.ask())


@contextmanager
def service(port: int, workers: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The real service, without a cache."""
    environment = {
        **os.environ,
        "RAG_RT_SERVICE_WORKERS": str(workers),
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


async def until_ready(client: httpx.AsyncClient, workers: int) -> None:
    while True:
        try:
            if f"\nrag_rt_workers {workers:.1f}\n" in (await client.get("/metrics")).text:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def throughput(asker: Asker, seconds: float, baseline: float | None) -> float:
    """Print tokens a second by clients; returns the baseline: given, or of one client."""
    print(f"{'clients':>8} {'answers':>8} {'tokens/s':>9} {'factor':>7} {'median s':>9}")
    for clients in CLIENTS:
        replies: list[Reply] = []
        begun = time.perf_counter()
        await asyncio.gather(*(asker.ask_for(seconds, replies) for _ in range(clients)))
        took = time.perf_counter() - begun
        tokens = sum(reply.tokens for reply in replies) / took
        baseline = baseline or tokens
        middle = median(reply.seconds for reply in replies)
        factor = tokens / baseline
        print(f"{clients:>8} {len(replies):>8} {tokens:>9.1f} {factor:>6.2f}x {middle:>9.2f}")
    assert baseline is not None
    return baseline


async def overhead(client: httpx.AsyncClient, asker: Asker, answers: int) -> None:
    own, bare = [], []
    for _ in range(answers):
        reply = await asker.ask()
        own.append(1000 * (reply.seconds - reply.worked))
        begun = time.perf_counter()
        await client.get("/livez")
        bare.append(1000 * (time.perf_counter() - begun))
    print(f"outside the pipeline, {answers} answers: median {median(own):.2f} ms", end="")
    print(f", most {max(own):.2f} ms; a bare reply takes its client {median(bare):.2f} ms")


def overload(url: str, each: float, times: float, seconds: float) -> None:
    """Send `times` as many questions a second as are answered, whatever becomes of them."""
    before = answered_by(url, each)
    rate_of_one = before * times / SENDERS
    sent = hey(url, seconds, RUNNING + WAITING + SENDERS, "-q", f"{rate_of_one:.3f}")
    after = answered_by(url, each)
    statuses = Counter(reply.status for reply in sent)
    print(f"\noverload: {len(sent):,} questions in {seconds:g} s")
    print(f"statuses {dict(sorted(statuses.items()))}")
    refused = sorted(reply.seconds for reply in sent if reply.status != 200)
    p99 = 1000 * refused[int(0.99 * (len(refused) - 1))]
    print(f"refusals: median {1000 * median(refused):.1f} ms, 99th percentile {p99:.1f} ms")
    first = seconds * _FILLING
    answered = sum(first <= reply.at < seconds for reply in sent if reply.status == 200)
    goodput = answered / (seconds - first)
    share = goodput / ((before + after) / 2)
    print(f"answers a second before, in and after it: {before:.3f}, {goodput:.3f}, {after:.3f}")
    print(f"goodput {share:.1%}")


def answered_by(url: str, seconds: float) -> float:
    """Answers a second of as many clients as are answered together."""
    replies = hey(url, seconds, RUNNING)
    return len(replies) / max(reply.at for reply in replies)


def hey(url: str, seconds: float, clients: int, *more: str) -> list[Reply]:
    """What became of the questions of Debian's load generator."""
    question = f'{{"question": "{QUESTIONS[0]}", "max_tokens": 128}}'
    request = ["-m", "POST", "-T", "application/json", "-d", question, "-t", "0"]
    size = ["-z", f"{seconds}s", "-c", str(clients), "-o", "csv", *more]
    output = subprocess.check_output(["hey", *request, *size, f"{url}/answer"], text=True)
    replies = []
    for row in csv.DictReader(output.splitlines()):
        took = float(row["response-time"])
        replies.append(Reply(int(row["status-code"]), took, at=float(row["offset"]) + took))
    return replies


async def soak(asker: Asker, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Ask for a long time; print what is answered and held each minute."""
    replies: list[Reply] = []
    clients = [asyncio.create_task(asker.ask_for(seconds, replies)) for _ in range(RUNNING)]
    print(f"\n{'minute':>7} {'answers':>8} {'server MiB':>11} {'workers MiB':>12}")
    for minute in itertools.count(1):
        done, _ = await asyncio.wait(clients, timeout=MINUTE)
        server, *workers = resident_mib(process)
        held = " + ".join(f"{worker:.0f}" for worker in workers)
        print(f"{minute:>7} {len(replies):>8} {server:>11.1f} {held:>12}", flush=True)
        if len(done) == len(clients):
            break
    statuses = Counter(reply.status for reply in replies)
    print(f"statuses {dict(sorted(statuses.items()))}")


async def restart(
    client: httpx.AsyncClient, process: "subprocess.Popen[bytes]", workers: int
) -> None:
    """Kill a worker while it writes."""
    body = {"question": QUESTIONS[0], "max_tokens": 256, "seed": 0, "stream": True}
    async with client.stream("POST", "/answer", json=body) as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        begun = time.perf_counter()
        os.kill(worker_pids(process)[0], signal.SIGKILL)  # alone, an answer goes to the first
        said = [line async for line in lines]
        told = time.perf_counter() - begun
    assert "event: error" in said, said[-4:]
    await until_ready(client, workers)
    ready = time.perf_counter() - begun
    print(f"worker killed: its client told after {told:.3f} s, started again after {ready:.1f} s")


def resident_mib(process: "subprocess.Popen[bytes]") -> list[float]:
    """Memory of the server and of its workers."""
    return [_resident(Path(f"/proc/{pid}/status")) for pid in (process.pid, *worker_pids(process))]


def worker_pids(process: "subprocess.Popen[bytes]") -> Sequence[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in children.read_text().split()]


def _resident(status: Path) -> float:
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def measure(options: argparse.Namespace) -> None:
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    url = f"http://127.0.0.1:{options.port}"
    baseline: float | None = None
    for workers in (1, 2):
        print(f"\nworkers: {workers}")
        with service(options.port, workers) as process:
            async with httpx.AsyncClient(base_url=url, timeout=700, limits=limits) as client:
                await until_ready(client, workers)
                asker = Asker(client, options.max_tokens, options.mode)
                await asyncio.gather(*(asker.ask() for _ in range(WARM_UP)))
                if options.each:
                    baseline = await throughput(asker, options.each, baseline)
                    await overhead(client, asker, options.answers)
                    await restart(client, process, workers)
                if workers > 1 and options.seconds:
                    overload(url, options.each or MINUTE, options.times, options.seconds)
                if workers > 1 and options.soak:
                    await soak(asker, process, options.soak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--mode", default="grounded")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--each", type=float, default=60, help="seconds of each row of clients")
    parser.add_argument("--answers", type=int, default=20, help="answers that overhead is of")
    parser.add_argument("--times", type=float, default=50, help="the load of the overload")
    parser.add_argument("--seconds", type=float, default=120, help="of the overload")
    parser.add_argument("--soak", type=float, default=1200, help="seconds of the soak")
    options = parser.parse_args()
    if options.seconds and not shutil.which("hey"):
        parser.error("the overload needs hey (apt install hey); leave it out with --seconds 0")
    print(machine())
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
