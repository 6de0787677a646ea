"""Checks of ours for schemathesis, which imports this file by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response

from rag_rt.requests import MAX_TOKENS

REFUSED = {"question", "messages", "seed"}
"""Fields for whose sake data is refused that the document allows: a question without any letter or
digit, and a seed a little above the largest, which is written there as a rounded number."""

TOKENS = {"/answer": "max_tokens", "/v1/chat/completions": "max_completion_tokens"}


@schemathesis.check
def valid_data_is_taken(context: CheckContext, reply: Response, case: Case[Any]) -> None:
    """A refusal of data that the document allows has a reason that no schema can say."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is GenerationMode.POSITIVE and reply.status_code in (400, 422):
        error = reply.json()["error"]
        fields = {error.get("param"), *(detail["field"] for detail in error.get("details", []))}
        assert fields & REFUSED, error


@schemathesis.check
def refusals_for_now_say_until_when(
    context: CheckContext, reply: Response, case: Case[Any]
) -> None:
    """What is 429 or 503 has `Retry-After`."""
    if reply.status_code in (429, 503):
        assert "retry-after" in reply.headers


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Streams are text in the document; schemathesis would take that for the schema of an event."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for reply in operation["responses"].values():
                reply.get("content", {}).get("text/event-stream", {}).pop("schema", None)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Keep answers short: it is the form of replies that is looked at."""
    name = TOKENS.get(case.operation.path)
    if name is not None and isinstance(case.body, dict):
        tokens = case.body.get(name)
        if tokens is None or (type(tokens) is int and 0 < tokens <= MAX_TOKENS):
            case.body[name] = 8
