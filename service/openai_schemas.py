"""What goes over the wire at `/v1`: OpenAI's chat completions, as far as they fit this service.

Fields, names and meanings are those of OpenAI's API reference (Chat Completions and Models).
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from rag_rt.requests import MAX_QUESTION, MAX_TEMPERATURE, MAX_TOKENS, Mode, Request
from rag_rt.words import content_words
from service.schemas import WHOLE

MODELS = {
    "rag-rt" if mode is Request.mode else f"rag-rt-{mode}": mode for mode in (Request.mode, *Mode)
}
"""The modes of answering under the names of models; the default one is `rag-rt` alone."""
MAX_MESSAGES = 256
LARGEST_SEED = 2**53 - 1  # JSON carries larger numbers not exactly (RFC 8259, 6)


def _asks_for_nothing(value: bool) -> bool:
    if value:
        raise PydanticCustomError("unsupported", "only false is supported")
    return value


# Literal[False] would take 0 too.
False_ = Annotated[bool, AfterValidator(_asks_for_nothing), WithJsonSchema({"const": False})]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_IGNORED = "Taken and not used."


class TextPart(BaseModel):
    """A piece of a message; this service reads text alone."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"] = Field(examples=["text"])
    text: str = Field(examples=["Why is the ocean salty?"])


class ChatMessage(BaseModel):
    """A turn of the conversation; fields that are not named here are not read."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="Only the user's messages are read; the others are taken and not used.",
        examples=["user"],
    )
    content: str | list[TextPart] | None = Field(
        default=None, description="The text.", examples=["Why is the ocean salty?"]
    )

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """Options of a streamed reply."""

    model_config = _STRICT

    include_usage: bool | None = Field(
        default=None, description="Tell the usage in a last chunk.", examples=[True]
    )
    include_obfuscation: False_ | None = Field(
        default=None, description="Chunks are never padded.", examples=[False]
    )


class TextFormat(BaseModel):
    """The only format of replies."""

    model_config = _STRICT

    type: Literal["text"] = Field(examples=["text"])


class Unsupported(BaseModel):
    """Parameters for what this service does not do, taken with the value that asks for nothing.

    Any other value is refused by the parameter's name.
    """

    model_config = _STRICT

    n: Annotated[int, Field(ge=1, le=1), WHOLE] | None = Field(default=None, examples=[1])
    stop: Annotated[list[str], Field(max_length=0)] | None = Field(default=None, examples=[None])
    logprobs: False_ | None = Field(default=None, examples=[False])
    top_logprobs: Annotated[int, Field(ge=0, le=0), WHOLE] | None = Field(
        default=None, examples=[0]
    )
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        default=None, examples=[{}]
    )
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = Field(default=None, examples=[0])
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = Field(
        default=None, examples=[0]
    )
    tools: Annotated[list[Any], Field(max_length=0)] | None = Field(default=None, examples=[[]])
    tool_choice: Literal["none", "auto"] | None = Field(default=None, examples=["none"])
    parallel_tool_calls: bool | None = Field(default=None, examples=[True])
    functions: Annotated[list[Any], Field(max_length=0)] | None = Field(default=None, examples=[[]])
    function_call: Literal["none", "auto"] | None = Field(default=None, examples=["none"])
    response_format: TextFormat | None = Field(default=None, examples=[{"type": "text"}])
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = Field(
        default=None, examples=[["text"]]
    )
    audio: None = Field(default=None, examples=[None])
    prediction: None = Field(default=None, examples=[None])
    reasoning_effort: None = Field(default=None, examples=[None])
    verbosity: None = Field(default=None, examples=[None])
    web_search_options: None = Field(default=None, examples=[None])
    store: False_ | None = Field(default=None, examples=[False])


class ChatRequest(Unsupported):
    """The body of `POST /v1/chat/completions`."""

    model: str = Field(
        description="`rag-rt` writes grounded answers; the others name a mode of answering.",
        examples=["rag-rt"],
        json_schema_extra={"enum": list(MODELS)},
    )
    messages: list[ChatMessage] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description=(
            f"The last message of the user is the question, at most {MAX_QUESTION:,} characters. "
            "Where it names nothing ('And why is that?'), the user's message before it is put in "
            "front. No other message is read."
        ),
        examples=[[{"role": "user", "content": "Why is the ocean salty?"}]],
    )
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None,
        description=f"Longest answer, in tokens; never more than {MAX_TOKENS:,} are written.",
        examples=[Request.max_tokens],
    )
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None,
        description="The older name of `max_completion_tokens`; read where that is not given.",
        examples=[Request.max_tokens],
        json_schema_extra={"deprecated": True},
    )
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = Field(
        default=None,
        description="0, the default here, always takes the likeliest token.",
        examples=[0],
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Sample among the likeliest tokens of this probability.",
        examples=[1],
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED), WHOLE] | None = Field(
        default=None, description="Makes sampling reproducible.", examples=[7]
    )
    stream: bool | None = Field(
        default=None, description="Reply in chunks while the answer is written.", examples=[False]
    )
    stream_options: StreamOptions | None = Field(
        default=None, description="Read only with `stream`.", examples=[None]
    )
    user: str | None = Field(default=None, description=_IGNORED, examples=["someone"])
    safety_identifier: str | None = Field(default=None, description=_IGNORED, examples=["a1"])
    prompt_cache_key: str | None = Field(default=None, description=_IGNORED, examples=["a1"])
    metadata: dict[str, str] | None = Field(default=None, description=_IGNORED, examples=[{}])
    service_tier: Literal["auto", "default"] | None = Field(
        default=None, description=_IGNORED, examples=["auto"]
    )

    def to_request(self) -> Request:
        """The question and its options, as the pipeline takes them; `model` is one of `MODELS`.

        Raises:
            InvalidRequest: there is no question, or it is out of bounds.
        """
        tokens = self.max_completion_tokens or self.max_tokens or Request.max_tokens
        return Request(
            question_of(self.messages),
            max_tokens=min(tokens, MAX_TOKENS),
            temperature=Request.temperature if self.temperature is None else self.temperature,
            top_p=Request.top_p if self.top_p is None else self.top_p,
            seed=self.seed,
            mode=MODELS[self.model],
        )


def question_of(messages: list[ChatMessage]) -> str:
    """The question that a conversation ends with; "" where the user says nothing.

    A last message without any content word is put behind the user's message before it, if both
    together are no longer than a question may be.
    """
    before, last = ["", "", *(message.text for message in messages if message.role == "user")][-2:]
    both = f"{before} {last}"
    says_something = any(character.isalnum() for character in last)
    if before and says_something and not content_words(last) and len(both) <= MAX_QUESTION:
        return both
    return last


class Citation(BaseModel):
    """The article that a part of the text rests on: `content[start_index:end_index]`."""

    start_index: int = Field(description="In characters (code points).", examples=[0])
    end_index: int = Field(description="The first character after the part.", examples=[61])
    title: str = Field(examples=["Seawater"])
    url: str = Field(examples=["https://en.wikipedia.org/wiki/Seawater"])


class Annotation(BaseModel):
    """A source."""

    type: Literal["url_citation"] = Field(default="url_citation", examples=["url_citation"])
    url_citation: Citation


class Tokens(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int = Field(examples=[210])
    completion_tokens: int = Field(examples=[48])
    total_tokens: int = Field(examples=[258])


class Reply(BaseModel):
    """The text of an answer, and its sources."""

    role: Literal["assistant"] = Field(default="assistant", examples=["assistant"])
    content: str = Field(examples=["Rivers carry dissolved salts into the ocean."])
    refusal: None = Field(default=None, examples=[None])
    annotations: list[Annotation]


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = Field(default=0, examples=[0])
    message: Reply
    logprobs: None = Field(default=None, examples=[None])
    finish_reason: Literal["stop", "length"] = Field(examples=["stop"])


class ChatCompletion(BaseModel):
    """The reply of `POST /v1/chat/completions` without `stream`."""

    id: str = Field(examples=["chatcmpl-2f1c7a5b7e8f4f0c9d0f6f5e1a2b3c4d"])
    object: Literal["chat.completion"] = Field(
        default="chat.completion", examples=["chat.completion"]
    )
    created: int = Field(description="Seconds since 1970.", examples=[1_764_000_000])
    model: str = Field(examples=["rag-rt"])
    choices: list[Choice]
    usage: Tokens


class Model(BaseModel):
    """A mode of answering, as a model."""

    id: str = Field(examples=["rag-rt"])
    object: Literal["model"] = Field(default="model", examples=["model"])
    created: int = Field(description="When the index was opened.", examples=[1_764_000_000])
    owned_by: str = Field(default="rag-rt", examples=["rag-rt"])


class ModelList(BaseModel):
    """The reply of `GET /v1/models`."""

    object: Literal["list"] = Field(default="list", examples=["list"])
    data: list[Model]


class OpenAIError(BaseModel):
    """`code` is stable, `message` is for people, `param` names what is wrong."""

    message: str = Field(examples=["tools: this service does not support it; leave it out"])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["tools"])
    code: str = Field(examples=["unsupported_parameter"])


class OpenAIErrorReply(BaseModel):
    """The body of every reply of `/v1` that is no success, as OpenAI's clients expect it."""

    error: OpenAIError
