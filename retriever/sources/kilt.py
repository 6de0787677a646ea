"""KILT's knowledge source: one JSON object a line (Petroni et al. 2021, §3).

`text` is a list: the title line, then the paragraphs. A page's text is the concatenation of the
paragraphs, and keeps where each begins.
"""

from retriever.passages import Page
from retriever.sources.formats import line_format
from retriever.sources.records import identifier, joined, json_object, string, strings
from retriever.sources.wikipedia import url_of_id


def parse(line: bytes, number: int) -> Page:
    """A page of a knowledge source.

    Raises:
        Malformed: the line is none.
    """
    record = json_object(line)
    page_id = identifier(record, "wikipedia_id")
    text, starts = joined(strings(record, "text")[1:])
    return Page(page_id, string(record, "wikipedia_title"), text, url_of_id(page_id), starts)


FORMAT = line_format(
    "kilt",
    "KILT knowledge source",
    "a file of JSON lines",
    "kilt_knowledgesource.json",
    parse,
    wikipedia_ids=True,
)
