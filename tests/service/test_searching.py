import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answerer import Answerer
from service.errors import handle_errors
from service.searching import MAX_CALLS, MAX_ID, Call, search_router
from tests.conftest import make_hit
from tests.service.tiny_service import PAGES, Local, make_answerer, serving

QUESTION = "Why is the ocean salty?"


def app_over(call: Call) -> FastAPI:
    app = FastAPI()
    app.include_router(search_router(call))
    handle_errors(app)
    return app


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    pages = {**PAGES, "AC/DC": "AC/DC is a band.", "C#?": "C# is a language."}
    return make_answerer(tmp_path_factory.mktemp("tiny"), pages)


@pytest.fixture(scope="module")
def client(tiny: Answerer) -> Iterator[httpx.Client]:
    app = app_over(Local(tiny).call)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        yield client


def test_a_search_gives_the_retrievers_hits(client: httpx.Client, tiny: Answerer) -> None:
    reply = client.post("/search", json={"question": "  Why is the\nocean salty? ", "k": 3})
    assert reply.status_code == 200
    assert reply.json()["hits"] == [asdict(h) for h in tiny.retriever.search(QUESTION, 3)]
    assert reply.json()["hits"][0]["passage"]["title"] == "Seawater"


def test_every_passage_is_at_its_id(client: httpx.Client, tiny: Answerer) -> None:
    snapshot = tiny.retriever.index.current()
    for passage in snapshot.take(range(len(snapshot))):
        reply = client.get(f"/passages/{quote(passage.id, safe='')}")
        assert reply.json() == asdict(passage)


@pytest.mark.parametrize("passage_id", ["", "Gold", "Gold:99", "../livez", "%00", "a/b/c"])
def test_what_is_no_passage_is_not_found(client: httpx.Client, passage_id: str) -> None:
    reply = client.get(f"/passages/{quote(passage_id, safe='')}")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "no_such_passage"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": ""}, "question"),
        ({"question": "?!"}, "question"),
        ({"question": "a" * 2001}, "question"),
        ({"question": "Why?", "k": 0}, "k"),
        ({"question": "Why?", "k": 51}, "k"),
        ({"question": "Why?", "k": "5"}, "k"),
        ({"question": "Why?", "max_tokens": 5}, "max_tokens"),
    ],
)
def test_a_search_out_of_bounds_is_refused_by_name(
    client: httpx.Client, body: object, field: str
) -> None:
    reply = client.post("/search", json=body)
    assert reply.status_code == 422
    assert [detail["field"] for detail in reply.json()["error"]["details"]] == [field]


def test_an_id_that_is_too_long_is_refused(client: httpx.Client) -> None:
    assert client.get(f"/passages/{'a' * (MAX_ID + 1)}").status_code == 422


class Echo:
    """Gives a passage of the id that is asked for; waits until `go` where there is one."""

    def __init__(self, go: asyncio.Event | None = None) -> None:
        self._go = go

    async def call(self, name: str, data: Any) -> Any:
        if self._go is not None:
            await self._go.wait()
        return {**asdict(make_hit("Text.").passage), "id": data["id"]}


echo = app_over(Echo().call)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_an_id_of_any_characters_arrives_as_it_is(passage_id: str) -> None:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(echo)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(f"/passages/{quote(passage_id, safe='')}")

    assert asyncio.run(asked()).json()["id"] == passage_id


def test_more_at_a_time_than_may_are_turned_away_and_the_others_served() -> None:
    async def ask_all() -> list[httpx.Response]:
        go = asyncio.Event()
        transport = httpx.ASGITransport(app_over(Echo(go).call))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            asked = [asyncio.create_task(client.get("/passages/a")) for _ in range(MAX_CALLS + 5)]
            await asyncio.sleep(0.2)
            go.set()
            return [*await asyncio.gather(*asked), await client.get("/passages/a")]

    replies = asyncio.run(ask_all())
    assert [r.status_code for r in replies] == [200] * MAX_CALLS + [429] * 5 + [200]
    assert {r.headers["retry-after"] for r in replies if r.status_code == 429} == {"1"}
