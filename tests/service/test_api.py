"""A real server process with the real models."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from rag_rt.answerer import Answerer
from rag_rt.requests import Request
from service.settings import ServiceSettings


@pytest.fixture
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=120) as client:
        yield client


def events_of(reply: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in reply.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_an_answer_points_at_the_words_it_rests_on(client: httpx.Client) -> None:
    reply = client.post("/answer", json={"question": "Why is the ocean salty?", "k": 6})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["status"] == "answered"
    assert len(answer["hits"]) == 6
    passages = {hit["passage"]["id"]: hit["passage"] for hit in answer["hits"]}
    cited = [evidence for s in answer["sentences"] for evidence in s["evidence"]]
    assert cited
    for evidence in cited:
        text = passages[evidence["passage_id"]]["text"]
        assert text[evidence["start"] : evidence["end"]] == evidence["quote"]


def test_a_stream_tells_the_same_answer_piece_by_piece(client: httpx.Client) -> None:
    body = {"question": "How do vaccines work?", "max_tokens": 60}
    whole = client.post("/answer", json=body).json()
    with client.stream("POST", "/answer", json={**body, "stream": True}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = list(events_of(reply))
    names = [name for name, _ in events]
    assert names[0] == "retrieval"
    assert names[-1] == "done"
    assert set(names[1:-1]) == {"token", "sentence"}
    assert "".join(data["text"] for name, data in events if name == "token") == whole["text"]
    sentences = [data for name, data in events if name == "sentence"]
    assert [s.pop("index") for s in sentences] == list(range(len(sentences)))
    assert sentences == whole["sentences"]
    assert events[0][1]["hits"] == whole["hits"]
    assert {**events[-1][1], "timings": None} == {**whole, "timings": None}


def test_a_seed_fixes_a_sampled_answer(client: httpx.Client) -> None:
    body = {"question": "What is gold?", "temperature": 1.2, "max_tokens": 15, "mode": "free"}
    texts = [
        client.post("/answer", json={**body, "seed": seed}).json()["text"] for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_what_the_corpus_does_not_cover_is_said(client: httpx.Client) -> None:
    answer = client.post("/answer", json={"question": "Почему океан солёный?"}).json()
    assert answer["status"] == "not_found"
    assert [s["support"] for s in answer["sentences"]] == ["unsupported"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": "?!…"}, "question"),
        ({"question": " \n"}, "question"),
        ({"question": "a" * 10_000}, "question"),
        ({"question": 5}, "question"),
        ({}, "question"),
        ({"question": "Why?", "k": 0}, "k"),
        ({"question": "Why?", "k": 10**6}, "k"),
        ({"question": "Why?", "temperature": -1}, "temperature"),
        ({"question": "Why?", "top_p": 0}, "top_p"),
        ({"question": "Why?", "max_tokens": 10**9}, "max_tokens"),
        ({"question": "Why?", "seed": 10**30}, "seed"),
        ({"question": "Why?", "colour": "red"}, "colour"),
        ([], "body"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(
    client: httpx.Client, body: object, field: str
) -> None:
    reply = client.post("/answer", json=body)
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert error["code"] == "invalid_request"
    assert [detail["field"] for detail in error["details"]] == [field]


@pytest.mark.parametrize(
    "body", [b"", b"nope", b'{"question": "Why?"', b'{"question": "half \\ud83d"}', b"\xff\xfe"]
)
def test_a_body_that_is_no_json_is_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/answer", content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused_without_reading_all_of_it(
    client: httpx.Client,
) -> None:
    reply = client.post("/answer", json={"question": "a" * 100_000})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/answer", 405, "method_not_allowed")],
)
def test_other_refusals_have_the_same_shape(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code


def test_health_says_what_is_served(client: httpx.Client) -> None:
    health = client.get("/readyz").json()
    assert health["status"] == "ok"
    assert health["index"]["pages"] == 10_033


def test_the_page_may_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/static/app.js"):
        reply = client.get(path)
        assert reply.status_code == 200
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-cache"


def test_a_client_that_leaves_frees_its_place(client: httpx.Client, server_url: str) -> None:
    address = urlsplit(server_url)
    body = json.dumps({"question": "How does photosynthesis work?", "max_tokens": 1024}).encode()
    head = "POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for stream in (b"", b', "stream": true'):
        sent = body[:-1] + stream + b"}"
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
            time.sleep(1)
        begun = time.monotonic()
        client.post("/answer", json={"question": "What is gold?", "max_tokens": 1})
        assert time.monotonic() - begun < 10  # 1,024 tokens take over 20 seconds


def test_questions_beyond_the_line_are_turned_away_and_the_others_answered(
    server_url: str,
) -> None:
    settings = ServiceSettings()
    taken = settings.running + settings.waiting

    def ask(_: int) -> httpx.Response:
        # Long enough for all of them to be there before the first is answered.
        body = {"question": "What is gold?", "mode": "free", "max_tokens": 100, "temperature": 1.5}
        return httpx.post(f"{server_url}/answer", json=body | {"seed": 7}, timeout=120)

    with ThreadPoolExecutor(taken + 12) as clients:
        replies = list(clients.map(ask, range(taken + 12)))
    turned_away = [reply for reply in replies if reply.status_code == 429]
    assert turned_away
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in turned_away)
    assert {reply.json()["error"]["code"] for reply in turned_away} == {"overloaded"}
    answered = [reply.json()["text"] for reply in replies if reply.status_code == 200]
    assert len(answered) + len(turned_away) == len(replies)
    assert len(set(answered)) == 1


def test_answers_written_together_are_those_written_alone(
    server_url: str, answerer: Answerer
) -> None:
    bodies: list[dict[str, Any]] = [
        {"question": "Why is the ocean salty?", "max_tokens": 40},
        {"question": "How do vaccines work?", "max_tokens": 40, "temperature": 0.9, "seed": 5},
        {"question": "What is gold?", "max_tokens": 40, "temperature": 1.0, "seed": 6},
        {"question": "What is a cell?", "max_tokens": 40, "temperature": 0.8, "seed": 7, "k": 4},
    ]

    def ask(body: dict[str, Any]) -> Any:
        return httpx.post(f"{server_url}/answer", json=body, timeout=120).json()

    with ThreadPoolExecutor(len(bodies)) as clients:
        together = list(clients.map(ask, bodies))
    for body, answer in zip(bodies, together, strict=True):
        alone = answerer.answer(Request(**body))
        assert answer["text"] == alone.text
        labels = [sentence["support"] for sentence in answer["sentences"]]
        assert labels == [sentence.support for sentence in alone.sentences]
