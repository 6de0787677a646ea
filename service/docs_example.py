"""What completes the OpenAPI document: an answer whose parts are examples, and failures."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from fastapi import FastAPI

from rag_rt.answers import (
    Answer,
    Claim,
    Evidence,
    FinishReason,
    Sentence,
    Status,
    Support,
    Timings,
    Usage,
)
from retriever import Hit, Passage

_TEXT = "The ocean is salty because rivers carry dissolved salts into it, and the salts stay."
_PASSAGE = Passage(
    id="Seawater:2",
    page_id="Seawater",
    title="Seawater",
    text="Rivers carry dissolved salts into the ocean. Water evaporates, and the salts stay.",
    url="https://en.wikipedia.org/wiki/Seawater",
    start=1204,
    end=1286,
    start_paragraph_id=3,
    start_character=0,
    end_paragraph_id=3,
    end_character=82,
)
_EVIDENCE = Evidence(_PASSAGE.id, 0, 44, _PASSAGE.text[:44], 0.83)
_CLAIM = Claim(0, 64, Support.SUPPORTED, (_EVIDENCE,), 0.94)
EXAMPLE = Answer(
    question="Why is the ocean salty?",
    text=_TEXT,
    status=Status.ANSWERED,
    sentences=(
        Sentence(0, len(_TEXT), Support.SUPPORTED, (_EVIDENCE,), 0.91, (_CLAIM,), quotation=False),
    ),
    hits=(Hit(_PASSAGE, 0.71, 1, 0.71),),
    usage=Usage(prompt_tokens=210, completion_tokens=19, finish_reason=FinishReason.STOP),
    timings=Timings(retrieval=0.02, prompting=0.11, generation=1.4, grounding=0.2, total=1.73),
)
_FAILURE = {
    "description": "Any other failure.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorReply"}}},
}


def complete_document(app: FastAPI) -> None:
    """Give the fields of an answer examples, and every address the one shape of an error."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemas = document.get("components", {}).get("schemas", {})
        for name, field, value in _values(EXAMPLE):
            described = schemas.get(name, {}).get("properties", {}).get(field)
            if described is not None and "$ref" not in described:
                described.setdefault("examples", [value])
        if "ErrorReply" in schemas:
            for item in document["paths"].values():
                for operation in item.values():
                    operation["responses"].setdefault("default", _FAILURE)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual does it


def _values(part: Any) -> Iterator[tuple[str, str, Any]]:
    """Class, field and value of all that is no object itself, in a dataclass and its parts."""
    for field in fields(part):
        value = getattr(part, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner):
                yield from _values(inner)
            else:
                yield type(part).__name__, field.name, inner
