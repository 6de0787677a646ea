"""The real server and the real worker process, over a pipeline that does as it is told."""

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.service.harness import Service, scripted

LONG = "steps=2000 each=0.01"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two answers at a time, and one waits."""
    with scripted(
        RUNNING="2", WAITING="1", HEARTBEAT_S="0.2", MAX_TIMEOUT_S="20", ORIGINS="https://a.test"
    ) as service:
        yield service


@pytest.fixture(autouse=True)
def _idle(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "service" in request.fixturenames:
        service: Service = request.getfixturevalue("service")
        service.until("rag_rt_running", 0)


class Asking:
    """Streams that are being read in the background, until they are left."""

    def __init__(self, service: Service, question: str, *, stream: bool = True) -> None:
        body = {"question": question, "stream": stream}
        self.client = httpx.Client(base_url=service.url, timeout=30)
        self.pool = ThreadPoolExecutor(1)
        self.reply = self.pool.submit(self._read, body)

    def _read(self, body: dict[str, Any]) -> str:
        try:
            return self.client.post("/answer", json=body).text
        except httpx.HTTPError:
            return ""

    def leave(self) -> None:
        for connection in self.client._transport._pool._connections:  # type: ignore[attr-defined]
            stream = connection._connection._network_stream.get_extra_info("socket")
            stream.shutdown(2)
        self.pool.shutdown()


def test_a_stream_has_the_events_of_the_answer_in_order(service: Service) -> None:
    events = list(service.stream("steps=3 a=1"))
    assert [name for _, name, _ in events] == ["retrieval", *["token"] * 3, "done"]
    assert len({identifier.split(".")[0] for identifier, _, _ in events}) == 1
    assert [int(identifier.split(".")[1]) for identifier, _, _ in events] == [1, 2, 3, 4, 5]
    assert events[-1][2] == service.ask("steps=3 a=1").json()


def test_who_must_wait_is_told_and_who_comes_later_is_refused_at_once(service: Service) -> None:
    running = [Asking(service, f"{LONG} n={n}") for n in range(2)]
    service.until("rag_rt_running", 2)
    waiting = service.stream("steps=1 n=3")
    assert next(waiting)[1:] == ("queued", {"ahead": 1})
    begun = time.monotonic()
    refused = service.ask("steps=1 n=4")
    assert time.monotonic() - begun < 0.25
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    for asking in running:
        asking.leave()
    assert [name for _, name, _ in waiting] == ["retrieval", "token", "done"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("state", ["waiting", "running"])
def test_who_leaves_frees_the_place_within_a_quarter_of_a_second(
    service: Service, state: str, stream: bool
) -> None:
    cancelled = f'rag_rt_cancellations_total{{state="{state}"}}'
    others = [Asking(service, f"{LONG} n={n}") for n in range(2 if state == "waiting" else 0)]
    service.until("rag_rt_running", len(others))
    before = service.metric(cancelled)
    asking = Asking(service, LONG, stream=stream)
    service.until(f"rag_rt_{state}", 1)
    asking.leave()
    assert service.until(cancelled, before + 1) < 0.25
    for other in others:
        other.leave()


def test_an_answer_that_was_left_is_no_longer_worked_on(service: Service) -> None:
    for stream in (False, True):
        asking = Asking(service, "steps=1 each=0.2 " + LONG, stream=stream)
        service.until("rag_rt_running", 1)
        asking.leave()
    begun = time.monotonic()
    service.ask("steps=50 each=0.01 alone=1")  # in turns with others it would take thrice as long
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("seconds", [0.3, 0.05])
def test_an_answer_ends_at_its_deadline_with_a_typed_error(
    service: Service, seconds: float
) -> None:
    reply = service.ask(LONG, timeout_s=seconds)
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "deadline_exceeded"
    *_, (name, data) = service.events(LONG, timeout_s=seconds)
    assert (name, data["error"]["code"]) == ("error", "deadline_exceeded")


def test_silence_is_filled_with_comments(service: Service) -> None:
    body = {"question": "steps=1 each=1", "stream": True}
    with httpx.stream("POST", f"{service.url}/answer", json=body, timeout=30) as reply:
        text = reply.read().decode()
    assert 2 <= text.count(":\n\n") <= 6
    assert text.count("event: done") == 1


def test_an_identical_request_is_told_from_the_cache_with_the_same_events(
    service: Service,
) -> None:
    question = "steps=20 each=0.01 cached=1"
    first = service.events(question)
    hits = service.metric("rag_rt_cache_hits_total")
    begun = time.monotonic()
    assert service.events(question) == first
    assert time.monotonic() - begun < 0.15
    assert service.metric("rag_rt_cache_hits_total") == hits + 1
    seeded = [service.ask(question, temperature=1, seed=seed).json()["text"] for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]
    assert service.metric("rag_rt_cache_hits_total") == hits + 2
    service.ask(question, temperature=1)
    service.ask(question, temperature=1)
    assert service.metric("rag_rt_cache_hits_total") == hits + 2


@pytest.mark.parametrize("more", [{}, {"temperature": 1}, {"temperature": 1, "seed": 3}])
def test_a_lost_stream_goes_on_where_it_ended(service: Service, more: dict[str, Any]) -> None:
    question = "steps=6 each=0.02 resumed=1"
    before = list(islice(service.stream(question, **more), 3))
    after = list(service.stream(question, before[-1][0], **more))
    names = [name for _, name, _ in [*before, *after]]
    assert names == ["retrieval", *["token"] * 6, "done"]
    texts = [data["text"] for _, name, data in [*before, *after] if name == "token"]
    assert "".join(texts) == after[-1][2]["text"]
    again = list(service.stream(question, before[-1][0], **more))
    assert again == after


@pytest.mark.parametrize("identifier", ["nothing.1", "nothing", "a.b", "x" * 64])
def test_a_stream_that_is_not_kept_is_gone(service: Service, identifier: str) -> None:
    body = {"question": "steps=1", "stream": True}
    reply = service.client.post("/answer", json=body, headers={"Last-Event-ID": identifier})
    assert reply.status_code == 410
    assert reply.json()["error"]["code"] == "gone"


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:x_Y", True), ("a b", False), ("x" * 65, False), ("", False)]
)
def test_a_sane_request_id_is_kept_and_others_are_replaced(
    service: Service, given: str, kept: bool
) -> None:
    reply = service.client.post("/answer", json={}, headers={"X-Request-Id": given})
    identifier = reply.headers["x-request-id"]
    assert (identifier == given) == kept
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", identifier)
    assert reply.json()["error"]["request_id"] == identifier


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b"\x00", b'"' + b"\xff" * 9])
def test_a_body_that_is_hard_to_read_is_refused(service: Service, body: bytes) -> None:
    reply = service.client.post(
        "/answer", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]["code"] == "invalid_request"


def test_a_body_that_is_only_a_megabyte_of_spaces_is_too_large(service: Service) -> None:
    reply = service.client.post("/answer", content=b" " * 2**20)
    assert reply.status_code == 413


def test_only_origins_that_are_named_may_call_from_their_pages(service: Service) -> None:
    for origin, named in (("https://a.test", True), ("https://b.test", False)):
        asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = service.client.options("/answer", headers=asking)
        reply = service.client.post("/answer", json={}, headers={"Origin": origin})
        for headers in (preflight.headers, reply.headers):
            assert (headers.get("access-control-allow-origin") == origin) == named


def test_an_answer_may_not_take_longer_than_the_service_allows() -> None:
    with scripted(MAX_TIMEOUT_S="0.3") as service:
        begun = time.monotonic()
        assert service.ask(LONG, timeout_s=600).status_code == 504
        assert time.monotonic() - begun < 5
        assert "access-control-allow-origin" not in service.client.get("/livez").headers


def test_metrics_have_bounded_labels_and_what_was_counted(service: Service) -> None:
    for number in range(5):
        service.client.get(f"/unknown/{number}")
    text = service.client.get("/metrics").text
    assert "unknown" not in text
    tokens = service.metric("rag_rt_completion_tokens_total")
    service.ask("steps=7 counted=1")
    assert service.metric("rag_rt_completion_tokens_total") == tokens + 7
    for name in ("queue", "retrieval", "prefill", "decode", "grounding", "answer"):
        assert service.metric(f"rag_rt_{name}_seconds_count") > 0


def test_the_page_and_the_states_reply_while_models_are_loaded() -> None:
    with scripted(ready=False, SCRIPT_LOADS="3") as service:
        service.until_alive()
        assert service.client.get("/").status_code == 200
        for refused in (service.client.get("/readyz"), service.ask("steps=1")):
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "loading"
            assert "the service is loading: " in refused.json()["error"]["message"]
            assert refused.headers["retry-after"]
        service.until("rag_rt_workers", 1, seconds=20)
        assert service.client.get("/readyz").json()["generator"] == "script"
        assert service.ask("steps=1").status_code == 200


def test_a_stop_lets_answers_end_in_their_time_and_takes_no_new_ones() -> None:
    with scripted(RUNNING="1", GRACE_S="4") as service:
        running = service.stream("steps=100 each=0.01")
        next(running)
        waiting = service.stream("steps=1 n=2")
        assert next(waiting)[1] == "queued"
        service.process.send_signal(signal.SIGTERM)
        *_, (_, name, data) = waiting
        assert (name, data["error"]["code"]) == ("error", "shutting_down")
        for refused in (service.client.get("/readyz"), service.ask("steps=1")):
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert refused.headers["retry-after"]
        *_, (_, name, _) = running
        assert name == "done"
        assert service.process.wait(5) in (0, -signal.SIGTERM)


def test_an_answer_that_outlasts_the_grace_time_ends_with_a_typed_error() -> None:
    with scripted(GRACE_S="0.5") as service:
        running = service.stream(LONG)
        next(running)
        begun = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        *_, (_, name, data) = running
        assert (name, data["error"]["code"]) == ("error", "shutting_down")
        assert service.process.wait(10) in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 8


def test_logs_are_json_with_the_request_and_without_its_question() -> None:
    with scripted() as service:
        question = "what my neighbour did fails=error"
        body = {"question": question}
        service.client.post("/answer", json=body, headers={"X-Request-Id": "here-1"})
        lines = service.stop().splitlines()
    assert "neighbour" not in "".join(lines)
    records = [json.loads(line) for line in lines if line.startswith("{")]
    of_request = [record for record in records if record.get("request_id") == "here-1"]
    messages = [record["message"] for record in of_request]
    assert sorted(messages) == ["a call failed", "ended", "replied"]
    (replied,) = [record for record in of_request if record["message"] == "replied"]
    assert (replied["route"], replied["status"]) == ("/answer", 500)
    assert replied["seconds"] >= 0


def test_logs_hold_questions_where_a_setting_asks() -> None:
    with scripted(LOG_QUESTIONS="true") as service:
        service.ask("what my neighbour did")
        said = service.stop()
    assert "what my neighbour did" in said


def test_an_index_that_is_lost_fails_what_needs_it_and_keeps_the_worker() -> None:
    with scripted() as service:
        worker = service.worker_pid()
        assert service.ask("steps=1 fails=index").json()["error"]["code"] == "internal"
        assert service.ask("steps=1").status_code == 200
        assert service.worker_pid() == worker
