"""`rag-rt ground`: the support of answers from anywhere in passages from anywhere."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from rag_rt.errors import InvalidRequest
from rag_rt.settings import load_settings

if TYPE_CHECKING:
    from rag_rt.answers import Sentence
    from rag_rt.grounding.records import Record

STDIN = "-"
_COLOURS = {"supported": "green", "partly": "yellow", "unsupported": "red"}


def ground(
    file: Annotated[str, typer.Argument(help="A file of answers, one a line; - reads them.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, as each answer is done.")
    ] = False,
) -> None:
    """Find what supports each sentence of answers, in the passages that come with them.

    A line is {"id", "answer", "passages": [{"id", "title", "text"}]}, a "question" optional.

    Example: rag-rt ground answers.jsonl --json
    """
    with _opened(file) as (stream, name):
        import torch

        from rag_rt.grounding.records import as_json as to_json
        from rag_rt.grounding.records import read_records
        from rag_rt.terminal import bar, waiting

        settings = load_settings()
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        with waiting("Loading the models"):
            grounded = _grounding(settings.entailment)
        total = 0 if file == STDIN else _count_lines(stream)
        with bar("Grounding answers") if total else nullcontext(_silent) as progress:
            counts: Counter[str] = Counter()
            for done, record in enumerate(read_records(stream, name), start=1):
                sentences = grounded(record)
                counts.update(str(sentence.support) for sentence in sentences)
                if as_json:
                    typer.echo(to_json(record, sentences))
                else:
                    _print(record, sentences)
                progress(done, total)
        if not as_json:
            _print_counts(counts)


def _grounding(entailment: str) -> "Callable[[Record], list[Sentence]]":
    from rag_rt.evidence import EvidencePool
    from rag_rt.grounding import Grounder, open_entailment
    from retriever.encoders import Encoder
    from retriever.sentences import sentence_spans

    encoder, model = Encoder("starter"), open_entailment(entailment)

    def grounded(record: "Record") -> "list[Sentence]":
        pool = EvidencePool.gather(record.question, record.hits, encoder)
        grounder = Grounder(pool, encoder, model)
        return [grounder.ground(record.answer, *span) for span in sentence_spans(record.answer)]

    return grounded


@contextmanager
def _opened(file: str) -> Iterator[tuple[IO[bytes], str]]:
    if file == STDIN:
        yield sys.stdin.buffer, "standard input"
        return
    if not Path(file).exists() or Path(file).is_dir():
        raise InvalidRequest("file", f"there is no file {file}; name a file of answers, or -")
    with Path(file).open("rb") as stream:
        yield stream, file


def _count_lines(stream: IO[bytes]) -> int:
    """How many lines there are; 0 where the file is a pipe, which is read only once."""
    if not stream.seekable():
        return 0
    lines = sum(1 for _ in stream)
    stream.seek(0)
    return lines


def _silent(done: int, total: int) -> None:
    """Where the end is not known there is no bar."""


def _print(record: "Record", sentences: "Iterable[Sentence]") -> None:
    from rich.text import Text

    from rag_rt.terminal import output

    output.print(Text(f"{record.id}", "bold"))
    for sentence in sentences:
        text = " ".join(record.answer[sentence.start : sentence.end].split())
        mark = f"{sentence.support} {sentence.probability or 0:.2f}"
        output.print(Text.assemble("  ", (mark, _COLOURS[sentence.support]), f"  {text}"))
        for evidence in sentence.evidence:
            quote = " ".join(evidence.quote.split())
            output.print(Text(f"      {evidence.passage_id}: “{quote}”", "dim"))


def _print_counts(counts: Counter[str]) -> None:
    from rag_rt.terminal import output

    total = sum(counts.values())
    shares = ", ".join(f"{counts[label]} {label}" for label in _COLOURS)
    output.print(f"{total} sentences: {shares}")
