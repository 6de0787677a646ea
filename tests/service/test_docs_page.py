import asyncio
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answers import Claim, Sentence
from rag_rt.settings import Settings
from service.app import create_app
from service.docs_example import EXAMPLE
from service.docs_page import add_docs, page_of
from service.docs_schemas import example_of, fields_of
from service.pool import WorkerPool
from service.settings import ServiceSettings

ADDRESS = "http://127.0.0.1:8000"


class Reader(HTMLParser):
    """Collects what a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = ServiceSettings()
    return create_app(WorkerPool(Settings(), settings), settings).openapi()


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> Reader:
    return Reader(page_of(document, ADDRESS))


def test_the_page_has_every_address_and_every_field(document: dict[str, Any], page: Reader) -> None:
    for path, item in document["paths"].items():
        assert path in page.text
        for operation in item.values():
            for status in operation["responses"]:
                assert status in page.text
    for name, schema in document["components"]["schemas"].items():
        assert name in page.values("id")
        for field in schema.get("properties", {}):
            assert field in page.text


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_elsewhere(page: Reader) -> None:
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    links = page.values("href")
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
    assert {link for link in links if not link.startswith("#")} == {
        "/static/docs.css",
        "/openapi.json",
        "/",
    }
    assert page.values("src") == []
    assert not {"script", "style", "iframe", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]


@given(st.text(st.sampled_from("<>&\"'`/ scriptonload=")))
def test_words_of_the_document_are_never_markup(text: str) -> None:
    def document(text: str) -> dict[str, Any]:
        field = {"type": "string", "description": text, "examples": [text], "default": text}
        schema = {"properties": {text: field}, "description": text}
        reply = {"description": text, "content": {text: {"schema": {"enum": [text]}}}}
        operation = {"description": f"a {text}", "responses": {text: reply}}
        return {
            "info": {"title": text, "version": text, "summary": text},
            "paths": {f"/{text}": {"get": operation}},
            "components": {"schemas": {f"x{text}": schema}},
        }

    hostile, harmless = (Reader(page_of(document(t), text)) for t in (text, "harmless"))
    allowed = {*harmless.tags, "code"}
    assert set(hostile.tags) <= allowed
    names = {name for name, _ in harmless.attributes}
    assert {name for name, _ in hostile.attributes} == names


def test_every_field_has_an_example_that_it_allows(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, part, _ in fields_of(schema):
            inner = part.get("items", part)
            described = "examples" in part or "$ref" in inner or "const" in part
            described = described or "$ref" in str(part.get("anyOf"))
            assert described, f"{name}.{field} has no example"
            for example in part.get("examples", []):
                whole = {**part, "components": document["components"]}
                assert jsonschema_rs.is_valid(whole, example), f"{name}.{field}: {example}"


def bodies(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for operation in item.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                yield from (
                    content["schema"]
                    for media, content in part.get("content", {}).items()
                    if media == "application/json"
                )


def test_the_examples_that_are_shown_are_valid(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for schema in bodies(document):
        for required_only in (False, True):
            example = example_of(schema, schemas, required_only=required_only)
            whole = {**schema, "components": document["components"]}
            assert jsonschema_rs.is_valid(whole, example), (schema, example)


def test_the_example_of_an_answer_is_consistent() -> None:
    passages = {hit.passage.id: hit.passage for hit in EXAMPLE.hits}
    for passage in passages.values():
        assert len(passage.text) == passage.end - passage.start
    for sentence in EXAMPLE.sentences:
        parts: list[Sentence | Claim] = [sentence, *sentence.claims]
        for part in parts:
            assert EXAMPLE.text[part.start : part.end].strip()
            for evidence in part.evidence:
                quoted = passages[evidence.passage_id].text[evidence.start : evidence.end]
                assert quoted == evidence.quote


def test_both_addresses_lead_to_the_page() -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/anything")
    async def anything() -> dict[str, int]:
        """Gives `nothing`."""
        return {}

    add_docs(app)

    async def asked(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            return await client.get(path, follow_redirects=True)

    for path in ("/docs", "/redoc"):
        reply = asyncio.run(asked(path))
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "Gives <code>nothing</code>." in reply.text
        assert f"curl {ADDRESS}/anything" in reply.text
