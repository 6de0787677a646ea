"""What goes over the wire: the request with its bounds, the answer, the one shape of an error."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rag_rt import requests
from rag_rt.requests import Mode, Request
from retriever.passages import MAX_PASSAGES
from retriever.search_modes import SearchMode


def _without_fraction(value: Any) -> Any:
    """5 where JSON has 5.0, which its schemas call an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_without_fraction)


class AnswerRequest(BaseModel):
    """The body of `POST /answer`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

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
        int, Field(ge=1, le=MAX_PASSAGES, description="Passages to retrieve.", examples=[8]), WHOLE
    ] = Request.k
    max_tokens: Annotated[
        int,
        Field(
            ge=1,
            le=requests.MAX_TOKENS,
            description="Longest answer, in tokens.",
            examples=[256],
        ),
        WHOLE,
    ] = Request.max_tokens
    temperature: Annotated[
        float,
        Field(
            ge=0,
            le=requests.MAX_TEMPERATURE,
            description="0 always takes the likeliest token; above it, tokens are sampled.",
            examples=[0],
        ),
    ] = Request.temperature
    top_p: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Sample among the likeliest tokens of this probability.",
            examples=[1],
        ),
    ] = Request.top_p
    repetition_penalty: Annotated[
        float,
        Field(
            ge=0.5,
            le=2,
            description="Above 1: tokens of the answer come again less easily.",
            examples=[1],
        ),
    ] = Request.repetition_penalty
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=requests.MAX_SEED,
            description="Makes sampling reproducible.",
            examples=[7],
        ),
        WHOLE,
    ] = Request.seed
    mode: Annotated[
        Mode,
        Field(
            strict=False,  # JSON has no enumerations
            description="grounded: no sentence without support, unless the passages give none; "
            "free: as the model writes; extractive: sentences of the passages, word for word.",
            examples=["grounded"],
        ),
    ] = Request.mode
    retrieval: Annotated[
        SearchMode | None,
        Field(
            description="How passages are found: dense by vectors, bm25 by words, hybrid by both; "
            "by default as does best.",
            examples=["hybrid"],
        ),
    ] = Request.retrieval
    stream: Annotated[
        bool,
        Field(
            description="Reply with server-sent events while the answer is written.",
            examples=[True],
        ),
    ] = False
    timeout_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=3600,
            description="Seconds that the answer may take, the wait for a place included; by "
            "default, and at most, as the service is set.",
            examples=[60],
        ),
    ] = None

    def to_request(self) -> Request:
        """The same request, as the pipeline takes it.

        Raises:
            InvalidRequest: the question holds no letter or digit, or is not valid Unicode.
        """
        return Request(**self.model_dump(exclude={"stream", "timeout_s"}))


class Detail(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(examples=["k"])
    message: str = Field(examples=["Input should be greater than or equal to 1"])


class Error(BaseModel):
    """`code` is stable, `message` is for people; `request_id` finds the request in the logs."""

    code: str = Field(examples=["invalid_request"])
    message: str = Field(examples=["k: Input should be greater than or equal to 1"])
    details: list[Detail] = []
    request_id: str = Field(default="", examples=["6f9619ff8b86d011b42d00cf4fc964ff"])


class ErrorReply(BaseModel):
    """The body of every reply that is no success, and the data of an `error` event."""

    error: Error


class IndexFacts(BaseModel):
    """What the index holds."""

    passages: int = Field(examples=[29_482])
    pages: int = Field(examples=[10_033])
    source: str = Field(examples=["Simple English Wikipedia"])


class Health(BaseModel):
    """The reply of `GET /readyz`."""

    status: str = Field(examples=["ok"])
    version: str = Field(examples=["0.1.0"])
    generator: str = Field(examples=["SmolLM2-135M-Instruct"])
    encoder: str = Field(examples=["all-MiniLM-L6-v2"])
    index: IndexFacts


class Alive(BaseModel):
    """The reply of `GET /livez`."""

    status: str = Field(examples=["ok"])
