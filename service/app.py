"""The application: `POST /answer`, the state of the service, its metrics, the page at `/`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json
from starlette.middleware.cors import CORSMiddleware

from rag_rt.answers import Answer
from service.docs_page import add_docs
from service.errors import (
    Loading,
    ShuttingDown,
    error_reply,
    handle_errors,
    reply_to,
    told_to_clients,
)
from service.events import Event, Queued, answer_of, data_of, name_of, next_of
from service.keys import ApiKeys, Keys, describe_keys
from service.leaving import unless_gone
from service.metrics import Metrics
from service.middleware import BodyLimit, Headers, Observed
from service.openai import openai_router
from service.pool import WorkerPool
from service.scheduling import Scheduler
from service.schemas import Alive, AnswerRequest, ErrorReply, Health
from service.searching import search_router
from service.settings import ServiceSettings
from service.streaming import EventStream, server_sent

WEB = Path(__file__).parent / "web"


def _refusal(description: str) -> dict[str, Any]:
    return {"model": ErrorReply, "description": description}


_REFUSALS: dict[int | str, dict[str, Any]] = {
    410: _refusal("The stream to go on with is no longer kept."),
    413: _refusal("The body is too large."),
    422: _refusal("A value is missing or out of bounds, or the prompt is too long."),
    429: _refusal("Too many questions wait; ask again after `Retry-After` seconds."),
    500: _refusal("The service failed."),
    503: _refusal("The service is loading or ends; ask again after `Retry-After` seconds."),
    504: _refusal("The answer was not finished in its time."),
}
_EVENTS = {
    "description": (
        "The answer. With `stream`: the events `queued` (how many are ahead, while it waits), "
        "`retrieval` (the hits), `token` (a piece of text), `sentence` (a finished sentence with "
        "its evidence) and `done` (the answer), or `error`. A lost stream goes on after the id in "
        "`Last-Event-ID`."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": 'id: 5f3a.1\nevent: token\ndata: {"text": "Rivers carry"}\n\n',
        }
    },
}


def create_app(workers: WorkerPool, settings: ServiceSettings, keys: Keys | None = None) -> FastAPI:
    """The application; it starts the workers when it starts, and ends them when it ends.

    Args:
        workers: what answers.
        settings: how many, how long, and the like.
        keys: who may ask; None: anybody.
    """
    metrics = Metrics()
    scheduler = Scheduler(workers, settings, metrics, workers.index_state)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(workers.run())
        yield
        await scheduler.drain(0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    app = FastAPI(
        title="rag-rt",
        version=version("rag-rt"),
        summary="Ask a question in plain words; get a cited paragraph from Wikipedia.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.scheduler = scheduler
    _add_answers(app, scheduler, settings)
    _add_states(app, scheduler, workers, metrics)
    app.include_router(search_router(scheduler.call))
    app.include_router(openai_router(scheduler, heartbeat_s=settings.heartbeat_s))
    _add_page(app)
    add_docs(app)
    handle_errors(app)
    _add_middleware(app, settings, metrics, keys)
    return app


def _add_middleware(
    app: FastAPI, settings: ServiceSettings, metrics: Metrics, keys: Keys | None
) -> None:
    """From the innermost to the outermost."""
    app.add_middleware(BodyLimit)
    if keys is not None:
        app.add_middleware(ApiKeys, keys=keys)
        describe_keys(app)
    app.add_middleware(
        Observed, metrics=metrics, failed=lambda error: reply_to(told_to_clients(error))
    )
    app.add_middleware(Headers)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins.split(","),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )


def _add_answers(app: FastAPI, scheduler: Scheduler, settings: ServiceSettings) -> None:
    @app.post("/answer", response_model=Answer, responses={200: _EVENTS, **_REFUSALS})
    async def answer(
        body: AnswerRequest,
        http: Request,
        last_event_id: Annotated[
            str | None,
            Header(max_length=64, description="Go on with a stream after this event."),
        ] = None,
    ) -> Response:
        """Answer a question in one paragraph, each sentence with its evidence."""
        seconds = min(body.timeout_s or settings.timeout_s, settings.max_timeout_s)
        request = body.to_request()
        if not body.stream:
            events = scheduler.stream(request, deadline=seconds)
            whole = await unless_gone(http, answer_of(events))
            return _gone() if whole is None else _json(whole)
        if last_event_id is None:
            name, request = scheduler.kept.begin(request)
            told = 0
        else:
            name, request, told = scheduler.kept.find(last_event_id)
        events = scheduler.stream(request, deadline=seconds)
        # What can be refused is refused before the reply begins.
        first = await unless_gone(http, next_of(events))
        if first is None:
            return _gone()
        pieces = _as_server_sent(name, told, first, events)
        return EventStream(pieces, heartbeat_s=settings.heartbeat_s)


def _add_states(app: FastAPI, scheduler: Scheduler, workers: WorkerPool, metrics: Metrics) -> None:
    @app.get("/livez")
    async def livez() -> Alive:
        """Whether the process lives: always, where it replies."""
        return Alive(status="ok")

    @app.get("/readyz", responses={503: _refusal("Not yet, or no longer: the message says why.")})
    async def readyz() -> Health:
        """Whether questions are taken, and from what they are answered."""
        if scheduler.closing:
            raise ShuttingDown
        facts = workers.facts
        if facts is None:
            raise Loading(workers.loading)
        return Health(status="ok", version=app.version, **facts)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics_text() -> Response:
        """Counts and measurements, in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    app.mount("/static", StaticFiles(directory=WEB))


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")


def _gone() -> Response:
    return Response(status_code=499)  # nobody reads it


async def _as_server_sent(
    name: str, told: int, first: Event, events: AsyncGenerator[Event]
) -> AsyncGenerator[bytes]:
    """The events of the answer `name` that were not `told` before."""
    number = 0
    try:
        async with aclosing(_joined(first, events)) as all_events:
            async for event in all_events:
                data = to_json(data_of(event)).decode()
                if isinstance(event, Queued):
                    yield server_sent(data, name=name_of(event))
                    continue
                number += 1
                if number > told:
                    yield server_sent(data, name=name_of(event), identifier=f"{name}.{number}")
    except Exception as error:  # the reply has begun: the client learns of it in an event
        failure = told_to_clients(error)
        body = error_reply(failure.code, str(failure))
        yield server_sent(body.model_dump_json(), name="error")


async def _joined(first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event
