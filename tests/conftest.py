"""Real components for all tests: the starter models and index that `make setup` prepares."""

import os

# Tests, the server they start and its browser share few cores, and threads that wait for each
# other there take ten times as long as one thread that waits for none.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import settings as hypothesis_settings

from rag_rt.answerer import Answerer
from rag_rt.settings import Settings
from retriever.encoders import Encoder
from retriever.passages import Hit, Passage

# Property tests share two cores with models: no deadline for a single example.
hypothesis_settings.register_profile("rag-rt", deadline=None, max_examples=60)
hypothesis_settings.load_profile("rag-rt")

ROOT = Path(__file__).resolve().parents[1]
RAG_RT = str(Path(sys.executable).with_name("rag-rt"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The fixtures recorded from the official programs, which live beside the checkout."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the recorded fixtures and data beside the checkout ({path.name}/)")
    return path


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder("starter")


@pytest.fixture(scope="session")
def answerer(settings: Settings) -> Answerer:
    return Answerer.from_settings(settings)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server process with the real models, on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file:  # a pipe that nobody reads would fill, and stop the server
        process = subprocess.Popen([RAG_RT, "serve", "--port", str(port)], stderr=file)
    try:
        wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path | None = None) -> None:
    for _ in range(600):
        if process.poll() is not None:
            errors = log.read_bytes() if log else process.communicate()[1]
            raise AssertionError(f"the server ended while starting: {errors.decode()}")
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server was not ready within a minute")


def run_rag_rt(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The real command in a process of its own."""
    return subprocess.run(
        [RAG_RT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own, which is soon full."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)  # its maps may still be open


def make_hit(text: str, *, title: str = "Title", rank: int = 1, score: float = 0.9) -> Hit:
    passage = Passage(
        id=f"{title}:{rank}",
        page_id=title,
        title=title,
        text=text,
        url=f"https://en.wikipedia.org/wiki/{title}",
        start=0,
        end=len(text),
    )
    return Hit(passage, score, rank, score)
