"""The application: `POST /answer`, `GET /healthz`, the page at `/`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import TypeAdapter
from sse_starlette import EventSourceResponse

from rag_rt.answerer import Answerer, Event, Finished
from rag_rt.answers import Answer
from service.answering import Desk
from service.errors import handle_errors, logged_error
from service.events import server_sent_event
from service.middleware import BodyLimit, Headers
from service.schemas import AnswerRequest, ErrorReply, Health, IndexFacts

WEB = Path(__file__).parent / "web"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorReply, "description": "The body is too large."},
    422: {"model": ErrorReply, "description": "A value is missing or out of bounds."},
    500: {"model": ErrorReply, "description": "The service failed."},
    503: {
        "model": ErrorReply,
        "description": "Too many questions wait; ask again after `Retry-After` seconds.",
    },
}
_EVENTS = {
    "description": (
        "The answer. With `stream`: the events `retrieval` (the hits), `token` (a piece of text), "
        "`sentence` (a finished sentence with its evidence) and `done` (the answer), or `error`."
    ),
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_answer_as_json = TypeAdapter(Answer).dump_json


def create_app(answerer: Answerer) -> FastAPI:
    """The application over a loaded pipeline."""
    app = FastAPI(
        title="rag-rt",
        version=version("rag-rt"),
        summary="Ask a question in plain words; get a cited paragraph from Wikipedia.",
    )
    desk = Desk(answerer)

    @app.post("/answer", response_model=Answer, responses={200: _EVENTS, **_REFUSALS})
    async def answer(body: AnswerRequest, http: Request) -> Response:
        """Answer a question in one paragraph, each sentence with its evidence."""
        events = desk.stream(body.to_request())
        first = await anext(events)  # what can be refused is refused before the reply begins
        if body.stream:
            return EventSourceResponse(_as_server_sent(first, events))
        return await _as_json(events, http)

    @app.get("/healthz")
    async def healthz() -> Health:
        """Whether the service answers, and from what."""
        index = answerer.retriever.index.manifest
        return Health(
            status="ok",
            version=app.version,
            generator=answerer.generator.name,
            encoder=answerer.retriever.encoder.name,
            index=IndexFacts(
                passages=index.counts["passages"],
                pages=index.counts["pages"],
                source=index.settings["source_description"],
            ),
        )

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    app.mount("/static", StaticFiles(directory=WEB))
    app.add_middleware(BodyLimit)
    app.add_middleware(Headers)
    handle_errors(app)
    return app


async def _as_json(events: AsyncGenerator[Event], http: Request) -> Response:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                return Response(_answer_as_json(event.answer), media_type="application/json")
            if await http.is_disconnected():
                break
    return Response(status_code=499)  # nobody reads it: the client has gone


async def _as_server_sent(
    first: Event, events: AsyncGenerator[Event]
) -> AsyncGenerator[dict[str, str]]:
    async with aclosing(events):
        yield server_sent_event(first)
        try:
            async for event in events:
                yield server_sent_event(event)
        except Exception as error:  # the reply has begun: the client learns of it in an event
            yield {"event": "error", "data": logged_error(error).model_dump_json()}
