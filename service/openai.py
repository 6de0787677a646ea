"""`POST /v1/chat/completions` and `GET /v1/models`: the service for OpenAI's clients.

`create_app` includes `openai_router(scheduler, heartbeat_s=…)`. Dependencies given there, such as
API keys, hold for these addresses too, and what they raise is told in OpenAI's shape.
"""

import json
import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from rag_rt import requests
from rag_rt.answers import Answer, Sentence
from rag_rt.events import Finished, Grounded, Retrieved, Wrote
from retriever import Hit
from service.events import Event, answer_of, next_of
from service.leaving import unless_gone
from service.openai_errors import ChatRefused, OpenAIRoute, failure
from service.openai_schemas import (
    MODELS,
    Annotation,
    ChatCompletion,
    ChatRequest,
    Choice,
    Citation,
    Model,
    ModelList,
    OpenAIErrorReply,
    Reply,
    Tokens,
)
from service.streaming import EventStream, server_sent

_CHUNK = (
    'data: {"id": "chatcmpl-2f1c", "object": "chat.completion.chunk", "created": 1764000000, '
    '"model": "rag-rt", "choices": [{"index": 0, "delta": {"content": "Rivers carry"}, '
    '"finish_reason": null}]}\n\ndata: [DONE]\n\n'
)
_EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A chunk as JSON, or [DONE]."}},
    "required": ["data"],
}
_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "The answer. With `stream`: chunks, each a `data` line; a chunk has `delta.content`, "
            "or `delta.annotations` with the sources of a sentence that is finished."
        ),
        "content": {"text/event-stream": {"itemSchema": _EVENT, "example": _CHUNK}},
    },
    400: {"model": OpenAIErrorReply, "description": "A parameter is missing or out of bounds."},
    404: {"model": OpenAIErrorReply, "description": "There is no such model."},
    429: {"model": OpenAIErrorReply, "description": "Too many questions: see `Retry-After`."},
    503: {"model": OpenAIErrorReply, "description": "No questions are taken: see `Retry-After`."},
    "default": {"model": OpenAIErrorReply, "description": "Any other failure, in this shape too."},
}


class Answers(Protocol):
    """Whatever answers questions: `service.scheduling.Scheduler`."""

    def stream(self, request: requests.Request) -> AsyncGenerator[Event]:
        """The events of an answer; closing the iterator gives up its place and stops the work."""
        ...


def openai_router(answers: Answers, *, heartbeat_s: float) -> APIRouter:
    """The addresses under `/v1`.

    Args:
        answers: what answers.
        heartbeat_s: seconds of silence before a comment in a stream.
    """
    router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=OpenAIRoute)
    begun = int(time.time())

    @router.post("/chat/completions", response_model=ChatCompletion, responses=_REPLIES)
    async def create_chat_completion(body: ChatRequest, http: Request) -> Response:
        """Answer the last question of a conversation, as OpenAI's chat completions do.

        Sources are annotations of the type `url_citation`. Parameters for what this service does
        not do are refused by name, unless they ask for nothing.
        """
        _refuse(body)
        events = answers.stream(body.to_request())
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": body.model,
        }
        if not body.stream:
            answer = await unless_gone(http, answer_of(events))
            return _gone() if answer is None else JSONResponse(_completion(head, answer))
        # What can be refused is refused before the reply begins.
        first = await unless_gone(http, next_of(events))
        if first is None:
            return _gone()
        usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = _chunks(http, head, first, events, usage=usage)
        return EventStream(chunks, heartbeat_s=heartbeat_s)

    @router.get("/models", responses={"default": _REPLIES["default"]})
    async def list_models() -> ModelList:
        """The modes of answering, as models."""
        return ModelList(data=[Model(id=name, created=begun) for name in MODELS])

    return router


def _gone() -> Response:
    return Response(status_code=499)  # nobody reads it


def _refuse(body: ChatRequest) -> None:
    if body.model not in MODELS:
        message = f"there is no model '{body.model}'; name one of {', '.join(MODELS)}"
        raise ChatRefused(404, "model_not_found", "model", message)


def _completion(head: dict[str, Any], answer: Answer) -> dict[str, Any]:
    message = Reply(content=answer.text, annotations=_annotations(answer.hits, answer.sentences))
    choice = Choice(message=message, finish_reason=answer.usage.finish_reason.value)
    return ChatCompletion(**head, choices=[choice], usage=_tokens(answer)).model_dump()


async def _chunks(
    http: Request,
    head: dict[str, Any],
    first: Event,
    events: AsyncGenerator[Event],
    *,
    usage: bool,
) -> AsyncGenerator[bytes]:
    """The reply in server-sent events: one chunk an event, then "[DONE]", or an error."""
    head = {**head, "object": "chat.completion.chunk"}
    if usage:
        head["usage"] = None  # as OpenAI does in all chunks but the last
    hits: tuple[Hit, ...] = ()
    try:
        async with aclosing(_all(first, events)) as all_events:
            async for event in all_events:
                match event:
                    case Retrieved(hits):
                        yield _chunk(head, {"role": "assistant", "content": "", "refusal": None})
                    case Wrote(text):
                        yield _chunk(head, {"content": text})
                    case Grounded(_, sentence):
                        if found := _annotations(hits, [sentence]):
                            yield _chunk(head, {"annotations": [a.model_dump() for a in found]})
                    case Finished(answer):
                        yield _chunk(head, {}, answer.usage.finish_reason.value)
                        if usage:
                            tokens = _tokens(answer).model_dump()
                            yield _data({**head, "choices": [], "usage": tokens})
        yield server_sent("[DONE]")
    except Exception as error:  # the reply has begun: the client learns of it in an event
        yield server_sent(bytes((await failure(http, error)).body).decode())


async def _all(first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


def _chunk(head: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _data({**head, "choices": [choice]})


def _data(chunk: dict[str, Any]) -> bytes:
    return server_sent(json.dumps(chunk))


def _annotations(hits: Iterable[Hit], sentences: Iterable[Sentence]) -> list[Annotation]:
    """The sources of sentences: of their claims, where they have several; each article once."""
    passages = {hit.passage.id: hit.passage for hit in hits}
    found: dict[tuple[int, int, str], Annotation] = {}
    for sentence in sentences:
        for part in sentence.claims or (sentence,):
            for evidence in part.evidence:
                passage = passages[evidence.passage_id]
                citation = Citation(
                    start_index=part.start,
                    end_index=part.end,
                    title=passage.title,
                    url=passage.url,
                )
                found.setdefault(
                    (part.start, part.end, passage.url), Annotation(url_citation=citation)
                )
    return list(found.values())


def _tokens(answer: Answer) -> Tokens:
    read, written = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return Tokens(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
