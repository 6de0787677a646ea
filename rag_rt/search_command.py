"""The command `rag-rt index search`: one question for a person, a file of them for a program."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from rag_rt.settings import load_settings
from retriever.errors import QueryError
from retriever.passages import MOST_HITS, Hit
from retriever.search_modes import SearchMode

BATCH = 32  # questions encoded at once, as passages are
SHOWN = 240  # characters of a passage that a person sees


class Query(NamedTuple):
    """What is read of a record."""

    id: str | int | None
    input: str


def search(
    directory: Annotated[Path, typer.Argument(help="The index.")],
    question: Annotated[
        str | None, typer.Argument(help="A question, in quotes; or name --queries.")
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(help="JSON lines with id and input, as KILT's; - reads standard input."),
    ] = None,
    k: Annotated[
        int, typer.Option(min=1, max=MOST_HITS, help="Passages to find for a question.")
    ] = 10,
    mode: Annotated[
        SearchMode | None,
        typer.Option(help="Search by vectors, by words, or by both, which is the default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a question, in order.")
    ] = False,
) -> None:
    """Search an index by one question, or by all questions of a file.

    Example: rag-rt index search data/index --queries questions.jsonl --k 5 --json
    """
    if (question is None) == (queries is None):
        raise typer.BadParameter("give a question, or --queries, and not both")
    asked = iter([Query(None, question or "")]) if queries is None else read_queries(queries)
    first = list(islice(asked, 1))  # what is wrong with a file shows before models are loaded
    from rag_rt.retrieval import encoder_of
    from rag_rt.terminal import waiting
    from retriever.index import Index
    from retriever.searching import Retriever

    with waiting("Opening the index"):
        index = Index(directory)
        retriever = Retriever(index, encoder_of(load_settings()))
    # Whoever writes to standard input may wait for each reply before going on.
    size = 1 if queries == "-" else BATCH
    batch = first + list(islice(asked, size - len(first)))
    while batch:
        found = retriever.search_batch([query.input for query in batch], k, mode)
        for query, hits in zip(batch, found, strict=True):
            _print(query, hits, as_json)
        sys.stdout.flush()
        batch = list(islice(asked, size))


def read_queries(name: str) -> Iterator[Query]:
    """The records of a file of JSON lines, "-" for standard input, as they come.

    Raises:
        QueryError: there is no such file, or a line is no record with `id` and `input`.
    """
    where = "standard input" if name == "-" else name
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _query(line, f"{where}, line {number}")
    except OSError as error:
        raise QueryError(f"{where} cannot be read: {error.strerror}; name a file") from error


def _query(line: bytes, where: str) -> Query:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise QueryError(f"{where}: this is not JSON; correct or remove the line") from None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str | int):
        raise QueryError(f"{where}: expected an object with an 'id'; correct the line")
    text = record.get("input")
    if not isinstance(text, str) or not text.strip():
        raise QueryError(f"{where}: expected a question as 'input'; correct the line")
    return Query(record["id"], text)


def _print(query: Query, hits: Sequence[Hit], as_json: bool) -> None:
    from rag_rt.inert import inert_json

    if as_json:
        line = {"id": query.id, "hits": [hit_as_json(hit) for hit in hits]}
        typer.echo(inert_json(json.dumps(line, ensure_ascii=False)))
    else:
        _print_for_people(query, hits)


def hit_as_json(hit: Hit) -> dict[str, Any]:
    """A hit as a line of results has it."""
    passage = hit.passage
    return {
        "passage_id": passage.id,
        "page_id": passage.page_id,
        "title": passage.title,
        "score": hit.score,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
    }


def _print_for_people(query: Query, hits: Sequence[Hit]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from rag_rt.inert import inert
    from rag_rt.terminal import output

    output.print(Text(inert(query.input), style="bold"))
    if not hits:
        output.print("  No passage holds a word of the question.")
    for hit in hits:
        text = inert(hit.passage.text)
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} …"
        output.print(Text(f"{hit.rank:3}  {hit.score:7.3f}  {inert(hit.passage.title)}"))
        output.print(Padding(Text(shown, style="dim"), (0, 0, 0, 14)))
