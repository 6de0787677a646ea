"""Plain JSON lines: `text`, a string or a list of paragraphs; perhaps `id`, `title` and `url`."""

from collections.abc import Mapping
from typing import Any

from retriever.passages import Page
from retriever.sources.formats import line_format
from retriever.sources.records import Malformed, identifier, joined, json_object, string, strings


def parse(line: bytes, number: int) -> Page:
    """A page of plain JSON.

    Raises:
        Malformed: the line is none.
    """
    return page_of(json_object(line), f"line-{number}")


def page_of(record: Mapping[str, Any], place: str) -> Page:
    """A page of a record with a text; `place` is its id where it names none, its id the title.

    Raises:
        Malformed: it has no text, or a field is of another type.
    """
    page_id = place if record.get("id") is None else identifier(record, "id")
    title = page_id if record.get("title") is None else string(record, "title")
    url = record.get("url") or ""
    if not isinstance(url, str):
        raise Malformed("its 'url' is no string")
    if not isinstance(record.get("text"), list):
        return Page(page_id, title, string(record, "text"), url)
    text, starts = joined([_ended(paragraph) for paragraph in strings(record, "text")])
    return Page(page_id, title, text, url, starts)


def _ended(paragraph: str) -> str:
    return paragraph if paragraph.endswith("\n") else f"{paragraph}\n"


FORMAT = line_format(
    "jsonl",
    "JSON lines",
    "each with 'text' and perhaps 'id', 'title' and 'url'",
    "corpus.jsonl",
    parse,
)
