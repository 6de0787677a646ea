"""What goes wrong at clients and in the worker; docs/service.md has a row for each."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port
from tests.service.harness import Service, scripted

HEAD = b"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PATIENCE = 1.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with scripted(PATIENCE_S=str(PATIENCE), CONNECTIONS="40", HANG_S="1") as service:
        yield service


@pytest.fixture(autouse=True)
def _goes_on(service: Service) -> Iterator[None]:
    """After every fault the service takes questions, within ten seconds."""
    yield
    service.until("rag_rt_workers", 1, seconds=10)
    service.until("rag_rt_running", 0)
    assert service.ask("steps=1 after=1").status_code == 200


def connected(service: Service, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", service.port))
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    said = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65536):
            said += chunk
    return said


def test_worker_killed(service: Service) -> None:
    streams = [service.stream(f"steps=500 each=0.01 n={n}") for n in range(2)]
    with ThreadPoolExecutor(1) as other:
        reply = other.submit(service.ask, "steps=500 each=0.01 n=3")
        for stream in streams:
            assert len(list(islice(stream, 3))) == 3
        service.until("rag_rt_running", 3)
        os.kill(service.worker_pid(), signal.SIGKILL)
        for stream in streams:
            *_, (_, name, data) = stream
            assert (name, data["error"]["code"]) == ("error", "worker_lost")
        assert reply.result().status_code == 503
        assert reply.result().json()["error"]["code"] == "worker_lost"
        assert reply.result().headers["retry-after"]


def test_worker_hangs(service: Service) -> None:
    begun = time.monotonic()
    *_, (name, data) = service.events("steps=1 fails=hang")
    assert (name, data["error"]["code"]) == ("error", "worker_lost")
    assert time.monotonic() - begun < 8


def test_worker_outlives_no_server() -> None:
    with scripted() as service:
        worker = service.worker_pid()
        service.process.kill()
        for _ in range(100):
            state = Path(f"/proc/{worker}/stat")
            if not state.exists() or state.read_text().split()[2] == "Z":
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the worker goes on without its server")


def test_exception_in_one_answer(service: Service) -> None:
    other = service.stream("steps=100 each=0.01 whole=1")
    next(other)
    reply = service.ask("steps=1 fails=error")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal"
    *_, (name, data) = service.events("steps=1 fails=error")
    assert (name, data["error"]["code"]) == ("error", "internal")
    assert "secret" not in reply.text + str(data)
    assert [name for _, name, _ in other] == ["token"] * 100 + ["done"]


def test_out_of_memory_in_one_answer(service: Service) -> None:
    worker = service.worker_pid()
    other = service.stream("steps=100 each=0.01 whole=2")
    next(other)
    reply = service.ask("steps=1 fails=memory")
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "out_of_memory"
    assert reply.headers["retry-after"]
    assert [name for _, name, _ in other][-1] == "done"
    assert service.worker_pid() == worker


def test_slow_client(service: Service) -> None:
    body = b'{"question": "steps=300 size=100000", "stream": true}'
    with connected(service, receive_buffer=4096) as connection:
        connection.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        service.until("rag_rt_running", 1)
        service.until("rag_rt_running", 0, seconds=20)  # nobody waits for who does not read
        time.sleep(PATIENCE + 0.5)
        said = read_to_end(connection)
    assert len(said) < 30_000_000  # of 300 events with 100 kB each


def test_half_open_connections(service: Service) -> None:
    sent = [b"", b"POST /ans", HEAD, HEAD + b'Content-Length: 100\r\n\r\n{"quest']
    connections = [connected(service) for _ in sent]
    begun = time.monotonic()
    for connection, part in zip(connections, sent, strict=True):
        connection.sendall(part)
    assert service.ask("steps=1 meanwhile=1").status_code == 200
    for connection in connections:
        assert read_to_end(connection) == b""
        connection.close()
    assert time.monotonic() - begun < PATIENCE + 2


def test_trickled_request(service: Service) -> None:
    begun = time.monotonic()
    with connected(service) as connection, suppress(ConnectionError):
        connection.sendall(HEAD)
        while time.monotonic() - begun < 10:
            connection.sendall(b"X-More: 1\r\n")
            time.sleep(0.1)
    assert time.monotonic() - begun < PATIENCE + 2


def test_connection_flood(service: Service) -> None:
    service.client.close()  # its connection would be one of them
    connections = [connected(service) for _ in range(60)]
    refused = [read_to_end(connection) for connection in connections]
    for connection in connections:
        connection.close()
    service.client = httpx.Client(base_url=service.url, timeout=30)
    told = [said for said in refused if said]
    assert len(told) >= 20
    for said in told:
        assert said.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: " in said
        assert b"too_many_connections" in said


@pytest.mark.parametrize("chunked", [False, True])
def test_body_of_10_mb(service: Service, chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 10000000\r\n"
    piece = b"a" * 10_000
    begun = time.monotonic()
    with connected(service) as connection:
        with suppress(ConnectionError):
            connection.sendall(HEAD + length + b"\r\n")
            for _ in range(1000):
                head = f"{len(piece):x}\r\n".encode() if chunked else b""
                connection.sendall(head + piece + (b"\r\n" if chunked else b""))
        said = read_to_end(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 413")  # it may be lost with what was not read
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "header", [b"X-A: " + b"a" * 2_000_000, b"X-A: a\r\n" * 200_000], ids=["long", "many"]
)
def test_header_flood(service: Service, header: bytes) -> None:
    begun = time.monotonic()
    with connected(service) as connection:
        with suppress(ConnectionError):
            connection.sendall(HEAD + header + b"\r\n\r\n")
        said = read_to_end(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\xfc", b"GET\r\n\r\n", b"GET / HTPP/1.1\r\nHost: x\r\n\r\n"]
)
def test_what_is_no_http(service: Service, sent: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(sent)
        said = read_to_end(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")


def test_clock_jumps() -> None:
    with scripted(SCRIPT_CLOCK="jumps", RUNNING="1", HEARTBEAT_S="5") as service:
        events = service.events("steps=20 each=0.01")
        assert [name for name, _ in events] == ["retrieval", *["token"] * 20, "done"]
        begun = time.monotonic()
        assert service.ask("steps=1000 each=0.01", timeout_s=0.5).status_code == 504
        assert 0.4 < time.monotonic() - begun < 2
        assert service.ask("steps=100 each=0.01 n=2", timeout_s=20).status_code == 200


def test_log_is_not_read() -> None:
    with scripted() as service:
        assert service.process.stderr is not None
        fcntl.fcntl(service.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        for number in range(60):
            assert service.ask(f"steps=1 n={number}").status_code == 200


def test_disk_of_the_log_is_full() -> None:
    port = free_port()
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "tests.service.scripted_server", str(port)]
        process = subprocess.Popen(command, stderr=full)
        service = Service(process, port)
        try:
            for _ in range(200):
                with suppress(httpx.TransportError):
                    if service.client.get("/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            assert service.ask("steps=3").status_code == 200
            assert service.ask("fails=error").status_code == 500
            assert service.ask("steps=3 n=2").status_code == 200
        finally:
            service.client.close()
            process.terminate()
            process.wait(20)
