"""The pipeline's events as server-sent events."""

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from rag_rt.answerer import Event, Finished, Grounded, Retrieved, Wrote

_to_json = TypeAdapter(dict[str, Any]).dump_json


def server_sent_event(event: Event) -> dict[str, str]:
    """The name and the JSON data of an event, as sse-starlette takes them."""
    name: str
    data: dict[str, Any]
    match event:
        case Retrieved(hits):
            name, data = "retrieval", {"hits": [asdict(hit) for hit in hits]}
        case Wrote(text):
            name, data = "token", {"text": text}
        case Grounded(index, sentence):
            name, data = "sentence", {"index": index, **asdict(sentence)}
        case Finished(answer):
            name, data = "done", asdict(answer)
    return {"event": name, "data": _to_json(data).decode()}
