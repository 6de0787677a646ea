"""How the server process begins and ends."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import RAG_RT, free_port, run_rag_rt, wait_until_ready


@pytest.fixture
def server() -> Iterator["tuple[str, subprocess.Popen[bytes]]"]:
    port = free_port()
    process = subprocess.Popen([RAG_RT, "serve", "--port", str(port)], stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url, process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_the_server_in_time_though_an_answer_is_written(
    server: "tuple[str, subprocess.Popen[bytes]]", stop: signal.Signals
) -> None:
    url, process = server
    body = {"question": "How does photosynthesis work?", "max_tokens": 1024, "stream": True}
    with httpx.stream("POST", f"{url}/answer", json=body, timeout=60) as reply:
        next(reply.iter_lines())
        process.send_signal(stop)
        _, errors = process.communicate(timeout=20)
    assert b"Traceback" not in errors


def test_a_port_in_use_is_said_before_any_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = run_rag_rt("serve", "--port", port, RAG_RT_HOME=str(tmp_path))
    assert run.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in run.stderr


@pytest.mark.parametrize("arguments", [["--host", "no such host"], ["--port", "99999"]])
def test_an_address_that_is_none_is_an_error(arguments: list[str]) -> None:
    run = run_rag_rt("serve", *arguments)
    assert run.returncode in (1, 2)
    assert "Traceback" not in run.stderr
