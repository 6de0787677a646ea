"""What goes over the wire: the request with its bounds, the answer, the one shape of an error."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rag_rt import requests
from rag_rt.requests import Request
from retriever.passages import MAX_PASSAGES


class AnswerRequest(BaseModel):
    """The body of `POST /answer`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    question: Annotated[
        str,
        Field(
            min_length=1,
            max_length=requests.MAX_QUESTION,
            description="The question, in plain words.",
            examples=["Why is the ocean salty?"],
        ),
    ]
    k: Annotated[
        int, Field(ge=1, le=MAX_PASSAGES, description="Passages to retrieve.", examples=[8])
    ] = Request.k
    max_tokens: Annotated[
        int,
        Field(ge=1, le=requests.MAX_TOKENS, description="Longest answer, in tokens."),
    ] = Request.max_tokens
    temperature: Annotated[
        float,
        Field(
            ge=0,
            le=requests.MAX_TEMPERATURE,
            description="0 always takes the likeliest token; above it, tokens are sampled.",
        ),
    ] = Request.temperature
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="Sample among the likeliest tokens of this probability."),
    ] = Request.top_p
    repetition_penalty: Annotated[
        float,
        Field(ge=0.5, le=2, description="Above 1: tokens of the answer come again less easily."),
    ] = Request.repetition_penalty
    seed: Annotated[
        int | None,
        Field(ge=0, le=requests.MAX_SEED, description="Makes sampling reproducible."),
    ] = Request.seed
    stream: Annotated[
        bool, Field(description="Reply with server-sent events while the answer is written.")
    ] = False

    def to_request(self) -> Request:
        """The same request, as the pipeline takes it.

        Raises:
            InvalidRequest: the question holds no letter or digit, or is not valid Unicode.
        """
        return Request(**self.model_dump(exclude={"stream"}))


class Detail(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    message: str


class Error(BaseModel):
    """`code` is stable, `message` is for people."""

    code: str = Field(examples=["invalid_request"])
    message: str
    details: list[Detail] = []


class ErrorReply(BaseModel):
    """The body of every reply that is no success, and the data of an `error` event."""

    error: Error


class IndexFacts(BaseModel):
    """What the index holds."""

    passages: int
    pages: int
    source: str


class Health(BaseModel):
    """The reply of `GET /healthz`."""

    status: str = Field(examples=["ok"])
    version: str
    generator: str
    encoder: str
    index: IndexFacts
