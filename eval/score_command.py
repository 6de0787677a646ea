"""The commands `score` and `compare`. Exit codes: 0 done, 1 failed, 2 wrong usage or bad input."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from eval.errors import EvalError, ExtraMissing, OutputNotWritten
from eval.records import require_rereadable

GuessFile = Annotated[Path, typer.Argument(metavar="GUESS", help="The guesses, KILT JSON lines.")]
GoldFile = Annotated[
    Path, typer.Argument(metavar="GOLD", help="The gold records, KILT JSON lines.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resampling.")]


def register(app: typer.Typer) -> None:
    """Add `score` and `compare` to a command line."""
    app.command("score")(score)
    app.command("compare")(compare)


def score(
    guess: GuessFile,
    gold: GoldFile,
    as_json: AsJson = False,
    per_record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the figures of each record, as JSON lines."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what the official scorer lets pass silently.")
    ] = False,
    google: Annotated[
        bool,
        typer.Option("--google/--no-google", help="Add rouge-score's figures (not official)."),
    ] = True,
    retrieval_only: Annotated[
        bool,
        typer.Option("--retrieval-only", help="Score as eval_retrieval: pages only, no answers."),
    ] = False,
    seed: Seed = 0,
) -> None:
    """Score a guess file: the official KILT figures, equal to the last digit.

    Example: score guess.jsonl eli5-dev-kilt.jsonl --per-record records.jsonl
    """
    if retrieval_only and per_record:
        raise typer.BadParameter("--retrieval-only has no figures to write with --per-record")
    from eval import score_reports, score_tables

    with exit_codes():
        if retrieval_only:
            report = score_reports.retrieval_report(guess, gold, strict=strict)
            show = score_tables.print_retrieval
        else:
            report = score_reports.score_report(
                guess, gold, per_record, strict=strict, google=google, seed=seed
            )
            show = score_tables.print_scores
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show(report)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The guesses of the first system.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The guesses of the second system.")],
    gold: GoldFile,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Compare two guess files on the same gold records: differences, intervals and p-values.

    Example: compare predicted.jsonl random.jsonl eli5-dev-kilt.jsonl
    """
    from eval import score_reports, score_tables

    with exit_codes():
        require_rereadable(a, b, gold)
        report = score_reports.comparison_report(a, b, gold, seed=seed)
    if as_json:
        typer.echo(json.dumps(report))
    else:
        score_tables.print_comparison(report)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn a refusal into one line on standard error and an exit code."""
    try:
        yield
    except EvalError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1 if isinstance(error, OutputNotWritten | ExtraMissing) else 2)
