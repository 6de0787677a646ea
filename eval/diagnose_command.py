"""The diagnoses: `bounds`, `ablate`. Exit codes: 0 done, 1 failed, 2 wrong usage or bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from eval.printing import Report
from eval.score_command import AsJson, GoldFile, Seed, exit_codes

TrainFile = Annotated[
    Path | None,
    typer.Option("--train", metavar="FILE", help="Training questions, KILT JSON lines."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Also write the JSON object here.")
]


def register(app: typer.Typer) -> None:
    """Add the diagnoses to a command line."""
    app.command("bounds")(bounds)
    app.command("ablate")(ablate)


def bounds(
    gold: GoldFile,
    train: TrainFile = None,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """What trivial systems score on this very file: copied questions, random and gold answers.

    Example: bounds eli5-dev-kilt.jsonl --train eli5-train-kilt.jsonl
    """
    from eval.bounds import bounds_report
    from eval.diagnose_tables import print_bounds
    from rag_rt.terminal import bar

    with exit_codes():
        with bar("Scoring trivial answers") as progress:
            report = bounds_report(gold, train, seed=seed, progress=progress)
        _deliver(report, print_bounds, as_json=as_json, out=out)


def ablate(
    true: Annotated[
        Path, typer.Argument(metavar="TRUE", help="Guesses written from the retrieved passages.")
    ],
    random: Annotated[
        Path, typer.Argument(metavar="RANDOM", help="Guesses written from random passages.")
    ],
    gold: GoldFile,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """Are the answers using what was retrieved? Compare runs with true and with random passages.

    Example: ablate guess.jsonl random.jsonl eli5-dev-kilt.jsonl
    """
    from eval.ablation import ablation_report
    from eval.diagnose_tables import print_ablation
    from rag_rt.terminal import bar

    with exit_codes():
        with bar("Comparing words") as progress:
            report = ablation_report(true, random, gold, seed=seed, progress=progress)
        _deliver(report, print_ablation, as_json=as_json, out=out)


def _deliver(
    report: Report, show: Callable[[Report], None], *, as_json: bool, out: Path | None
) -> None:
    from eval.score_reports import written_whole

    if out:
        with written_whole(out) as file:
            file.write(json.dumps(report, indent=1).encode() + b"\n")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show(report)
