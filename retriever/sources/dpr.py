"""DPR's passages: `id`, `text`, `title`, tab-separated (Karpukhin et al. 2020, `psgs_w100.tsv`).

Each line stays a page of its own, under the line's id, by which published results name passages.
Lines of one title could be joined into their article, but then the splitter would cut it in other
places, and the ids would be lost.
"""

from retriever.passages import Page
from retriever.sources.formats import line_format
from retriever.sources.records import Malformed, decoded, string
from retriever.sources.wikipedia import url_of_title

_COLUMNS = ("id", "text", "title")


def parse(line: bytes, number: int) -> Page | None:
    """A passage; None for the line that names the columns.

    Raises:
        Malformed: the line is none.
    """
    fields = decoded(line).rstrip("\r\n").split("\t")
    if len(fields) != len(_COLUMNS):
        raise Malformed(f"it has {len(fields):,} columns separated by tabs, not id, text and title")
    if number == 1 and tuple(fields) == _COLUMNS:
        return None
    record = dict(zip(_COLUMNS, map(_unquoted, fields), strict=True))
    title = string(record, "title")
    return Page(string(record, "id"), title, string(record, "text"), url_of_title(title))


def _unquoted(field: str) -> str:
    """A field as the csv module reads it: within quotes, a quote is doubled."""
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


FORMAT = line_format(
    "dpr",
    "DPR's passages",
    "a file of tab-separated id, text and title",
    "psgs_w100.tsv.gz",
    parse,
)
