"""`POST /search` and `GET /passages/{id}`: what answers are written from, without writing any.

`create_app` includes `search_router(scheduler.call)`. Both are calls to the process that holds the
index, which does them between two turns of the answers; at most `MAX_CALLS` wait at a time.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from rag_rt import requests
from rag_rt.requests import MAX_QUESTION
from retriever.passages import MAX_PASSAGES
from retriever.search_modes import SearchMode
from service.errors import Overloaded, ServiceError
from service.schemas import WHOLE, ErrorReply

MAX_CALLS = 8  # at a time, so that they silence the answers for one turn or two
RETRY_AFTER = 1  # seconds; the shortest that the header can say
MAX_ID = 1024  # characters; an id is a page's, at most 256 bytes long in Wikipedia, and a number

Call = Callable[[str, object], Coroutine[Any, Any, Any]]
"""`service.scheduling.Scheduler.call`: "search" or "passage" with its data, to JSON values."""

_FAILURES: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorReply, "description": "A value is missing or out of bounds."},
    429: {"model": ErrorReply, "description": "Too many searches at a time: see `Retry-After`."},
    503: {"model": ErrorReply, "description": "The index is being loaded: see `Retry-After`."},
    "default": {"model": ErrorReply, "description": "Any other failure."},
}
_LINKS = {
    "first": {
        "operationId": "get_passage",
        "parameters": {"passage_id": "$response.body#/hits/0/passage/id"},
        "description": "The best passage.",
    }
}


class _Anything(Convertor[str]):
    """The rest of a path; Starlette's own stops before a line break."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


class NoSuchPassage(ServiceError):
    """No passage has this id."""

    status, code = 404, "no_such_passage"

    def __init__(self) -> None:
        super().__init__("no passage has this id; /search gives ids that passages have")


class SearchRequest(BaseModel):
    """The body of `POST /search`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str = Field(
        min_length=1,
        max_length=MAX_QUESTION,
        description="The question, in plain words.",
        examples=["Why is the ocean salty?"],
    )
    k: Annotated[
        int,
        Field(ge=1, le=MAX_PASSAGES, description="Passages to find.", examples=[8]),
        WHOLE,
    ] = requests.Request.k
    retrieval: SearchMode | None = Field(
        default=None,
        description="dense by vectors, bm25 by words, hybrid by both; by default as does best.",
        examples=["hybrid"],
    )


class PassageReply(BaseModel):
    """A part of an article: `text` is what stands there from `start` to before `end`."""

    id: str = Field(examples=["Seawater:2"])
    page_id: str = Field(examples=["Seawater"])
    title: str = Field(description="Of the article.", examples=["Seawater"])
    text: str = Field(examples=["Rivers carry dissolved salts into the ocean."])
    url: str = Field(
        description="Of the article.", examples=["https://en.wikipedia.org/wiki/Seawater"]
    )
    start: int = Field(description="In characters of the article.", examples=[1204])
    end: int = Field(examples=[1248])
    start_paragraph_id: int | None = Field(
        description="KILT's number of the paragraph; null where the corpus has none.", examples=[3]
    )
    start_character: int | None = Field(description="In that paragraph.", examples=[0])
    end_paragraph_id: int | None = Field(examples=[3])
    end_character: int | None = Field(examples=[44])


class HitReply(BaseModel):
    """A passage that was found."""

    passage: PassageReply
    score: float = Field(
        description="What it was ranked by: inner product, BM25, or both fused.", examples=[0.71]
    )
    similarity: float = Field(description="Inner product with the question.", examples=[0.71])
    rank: int = Field(description="From 1, the best.", examples=[1])


class SearchReply(BaseModel):
    """The reply of `POST /search`."""

    hits: list[HitReply] = Field(description="Best first.")


def search_router(call: Call) -> APIRouter:
    """The two addresses."""
    router = APIRouter(tags=["Passages"])
    running = 0

    @asynccontextmanager
    async def place() -> AsyncIterator[None]:
        nonlocal running
        if running >= MAX_CALLS:
            raise Overloaded(RETRY_AFTER)
        running += 1
        try:
            yield
        finally:
            running -= 1

    @router.post("/search", responses={200: {"links": _LINKS}, **_FAILURES})
    async def search(body: SearchRequest) -> SearchReply:
        """Find the passages for a question."""
        question = requests.Request(body.question).question  # refuses what is no question
        async with place():
            data = {
                "question": " ".join(question.split()),
                "k": body.k,
                "retrieval": body.retrieval,
            }
            hits = await call("search", data)
        return SearchReply(hits=hits)

    @router.get(
        "/passages/{passage_id:anything}",
        operation_id="get_passage",
        responses={
            404: {"model": ErrorReply, "description": "No passage has this id."},
            **_FAILURES,
        },
    )
    async def passage(
        passage_id: Annotated[
            str,
            Path(
                max_length=MAX_ID,
                description="As in hits and evidence, percent-encoded.",
                examples=["Seawater:2"],
            ),
        ],
    ) -> PassageReply:
        """One passage."""
        async with place():
            found = await call("passage", {"id": passage_id})
        if found is None:
            raise NoSuchPassage
        return PassageReply(**found)

    return router
