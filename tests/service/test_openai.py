"""OpenAI's own client against the service over a real socket."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam

from rag_rt.answerer import Answerer
from rag_rt.events import Event, Retrieved, Wrote
from rag_rt.requests import MAX_QUESTION, MAX_TOKENS, Mode, Request
from rag_rt.words import content_words
from service.errors import handle_errors
from service.openai import Answers, openai_router
from service.openai_schemas import MODELS, ChatMessage, ChatRequest, question_of
from tests.conftest import make_hit
from tests.service.tiny_service import Local, make_answerer, serving

QUESTION = "Why is the ocean salty?"
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]


def app_over(answers: Answers) -> FastAPI:
    app = FastAPI()
    app.include_router(openai_router(answers, heartbeat_s=0.01))
    handle_errors(app)
    return app


@contextmanager
def client_of(answers: Answers) -> Iterator[openai.OpenAI]:
    with (
        serving(app_over(answers)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    return make_answerer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def client(tiny: Answerer) -> Iterator[openai.OpenAI]:
    with client_of(Local(tiny)) as client:
        yield client


def test_a_completion_is_the_pipelines_answer(client: openai.OpenAI, tiny: Answerer) -> None:
    reply = client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=12)
    answer = tiny.answer(Request(QUESTION, max_tokens=12))
    choice = reply.choices[0]
    assert choice.message.content == answer.text
    assert choice.message.role == "assistant"
    assert choice.finish_reason == answer.usage.finish_reason
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == answer.usage.prompt_tokens
    assert reply.usage.completion_tokens == answer.usage.completion_tokens
    assert reply.usage.total_tokens == sum((reply.usage.prompt_tokens, 12))


def test_a_stream_tells_the_same_in_chunks(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": "rag-rt",
        "messages": ASK,
        "max_completion_tokens": 12,
        "temperature": 1.5,
        "top_p": 0.9,
        "seed": 4,
    }
    whole = client.chat.completions.create(**options)
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    choices = [choice for chunk in chunks for choice in chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    assert text == whole.choices[0].message.content
    assert choices[0].delta.role == "assistant"
    reasons = [choice.finish_reason for choice in choices]
    assert reasons == [None] * (len(reasons) - 1) + [whole.choices[0].finish_reason]


def test_without_include_usage_no_chunk_has_any(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=3, stream=True)
    assert all(chunk.choices and "usage" not in chunk.model_fields_set for chunk in chunks)


def test_the_modes_of_answering_are_the_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["rag-rt", "rag-rt-free", "rag-rt-extractive"]
    assert [MODELS[name] for name in names] == list(Mode)


def test_sources_are_citations_of_the_sentences_that_rest_on_them(answerer: Answerer) -> None:
    with client_of(Local(answerer)) as client:
        reply = client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=80)
        chunks = list(
            client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=80, stream=True)
        )
    answer = answerer.answer(Request(QUESTION, max_tokens=80))
    message = reply.choices[0].message
    assert message.content == answer.text
    assert message.annotations
    pages = {hit.passage.url: hit.passage.title for hit in answer.hits}
    parts = {(p.start, p.end) for s in answer.sentences for p in s.claims or (s,) if p.evidence}
    cited = [annotation.url_citation for annotation in message.annotations]
    assert {(c.start_index, c.end_index) for c in cited} == parts
    assert all(pages[c.url] == c.title for c in cited)
    assert len({(c.start_index, c.end_index, c.url) for c in cited}) == len(cited)
    streamed = [
        annotation
        for chunk in chunks
        for annotation in (chunk.choices[0].delta.model_extra or {}).get("annotations", [])
    ]
    assert streamed == [annotation.model_dump() for annotation in message.annotations]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"stop": ["\n"]}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"web_search_options": {}}, "web_search_options"),
]


@pytest.mark.parametrize(("options", "param"), REFUSED, ids=[param for _, param in REFUSED])
def test_what_is_not_supported_is_refused_by_name(
    client: openai.OpenAI, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="rag-rt", messages=ASK, **options)
    assert refusal.value.code == "unsupported_parameter"
    assert refusal.value.param is not None
    assert refusal.value.param.split(".")[0] == param
    assert refusal.value.type == "invalid_request_error"


def test_what_asks_for_nothing_is_taken(client: openai.OpenAI) -> None:
    nothing: dict[str, Any] = {
        **{name: None for name, _ in ((p, o) for o, p in REFUSED)},
        "n": 1,
        "presence_penalty": 0,
        "response_format": {"type": "text"},
        "user": "somebody",
        "metadata": {"a": "b"},
        "temperature": None,
    }
    whole = client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=3)
    reply = client.chat.completions.create(
        model="rag-rt", messages=ASK, max_tokens=3, extra_body=nothing
    )
    assert reply.choices[0].message == whole.choices[0].message


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "invalid_request"),
        ({"top_p": 0}, "top_p", "invalid_request"),
        ({"seed": -1}, "seed", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_request"),
        ({"messages": []}, "messages", "invalid_request"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "messages", "invalid_request"),
        ({"messages": [{"role": "user", "content": "?!"}]}, "messages", "invalid_request"),
        ({"messages": [{"role": "user", "content": "a" * 9000}]}, "messages", "invalid_request"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role", "invalid_request"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
            "invalid_request",
        ),
    ],
)
def test_what_is_wrong_is_named(
    client: openai.OpenAI, options: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(**{"model": "rag-rt", "messages": ASK, **options})
    assert (refusal.value.param, refusal.value.code) == (param, code)


def test_a_model_that_is_none_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert (refusal.value.param, refusal.value.code) == ("model", "model_not_found")


def test_a_conversation_is_taken_as_the_client_keeps_it(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="rag-rt", messages=ASK, max_tokens=5)
    turns: list[Any] = [
        {"role": "system", "content": "You are a pirate."},
        *ASK,
        first.choices[0].message,
        {"role": "user", "content": [{"type": "text", "text": "What is gold?"}]},
    ]
    reply = client.chat.completions.create(model="rag-rt", messages=turns, max_tokens=5)
    alone = client.chat.completions.create(
        model="rag-rt", messages=[{"role": "user", "content": "What is gold?"}], max_tokens=5
    )
    assert reply.choices[0].message == alone.choices[0].message
    assert reply.usage == alone.usage


def test_more_tokens_than_may_be_written_are_as_many_as_may() -> None:
    body = ChatRequest(
        model="rag-rt", messages=[ChatMessage(role="user", content="Why?")], max_tokens=10**9
    )
    assert body.to_request().max_tokens == MAX_TOKENS


turns = st.builds(
    ChatMessage,
    role=st.sampled_from(["system", "developer", "user", "assistant"]),
    content=st.sampled_from([QUESTION, "And why is that?", "What is gold?", "?", "", None])
    | st.text(max_size=20),
)


@given(st.lists(turns, max_size=6))
def test_only_the_last_two_messages_of_the_user_are_read(messages: list[ChatMessage]) -> None:
    said = [message.text for message in messages if message.role == "user"]
    question = question_of(messages)
    alone = said[-1] if said else ""
    assert question in (alone, " ".join(said[-2:]))
    if content_words(alone):
        assert question == alone
    assert question_of([m for m in messages if m.role == "user"][-2:]) == question


def test_a_question_that_names_nothing_is_put_behind_the_one_before() -> None:
    def asked(*texts: str) -> str:
        return question_of([ChatMessage(role="user", content=text) for text in texts])

    assert asked(QUESTION, "And why is that?") == f"{QUESTION} And why is that?"
    assert asked(QUESTION, "?!") == "?!"
    assert asked("x" * MAX_QUESTION, "And why is that?") == "And why is that?"


class Failing:
    """An answer that fails after `events`; `closed` is set when it is given up."""

    def __init__(self, *events: Event, error: Exception | None = None) -> None:
        self._events, self._error = events, error
        self.asked, self.closed = threading.Event(), threading.Event()

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        try:
            for event in self._events:
                yield event
            self.asked.set()
            if self._error is not None:
                raise self._error
            await asyncio.sleep(60)
        finally:
            self.closed.set()


BEGUN = (Retrieved((make_hit("Text."),)), Wrote("Text"))


def test_a_failure_before_the_reply_is_a_status() -> None:
    failing = Failing(error=RuntimeError("secret of the house"))
    with client_of(failing) as client:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as failure:
                client.chat.completions.create(model="rag-rt", messages=ASK, stream=stream)
            assert (failure.value.type, failure.value.code) == ("server_error", "internal")
            assert "secret" not in failure.value.message


def test_a_failure_in_a_stream_is_an_error_to_the_client() -> None:
    with client_of(Failing(*BEGUN, error=RuntimeError("secret"))) as client:
        chunks = iter(client.chat.completions.create(model="rag-rt", messages=ASK, stream=True))
        assert [next(chunks).choices[0].delta.content for _ in BEGUN] == ["", "Text"]
        with pytest.raises(openai.APIError) as failure:
            next(chunks)
    assert failure.value.code == "internal"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("events", [(), BEGUN], ids=["waiting", "begun"])
def test_a_client_that_leaves_ends_the_work(events: tuple[Event, ...], stream: bool) -> None:
    hanging = Failing(*events)
    body = json.dumps({"model": "rag-rt", "messages": ASK, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with serving(app_over(hanging)) as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            assert hanging.asked.wait(5)
            assert not hanging.closed.is_set()
        assert hanging.closed.wait(0.25)
